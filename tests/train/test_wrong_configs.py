"""What cannot work is said before the first step, in one line that names the field or file."""

import argparse
import dataclasses
import sys

import pytest
import tiny_training
from conftest import ROOT

from vglamm_jax import cli
from vglamm_jax.data.shares import Share
from vglamm_jax.train import command, loop
from vglamm_jax.train.config import EvaluationConfig, FilesConfig, MeshConfig, StartConfig

DATA = tiny_training.config("").data
WRONG = {
    "mesh": ({"mesh": MeshConfig(fsdp=7)}, "fsdp=7 x tensor=1 does not make up"),
    "rows": ({"accumulate": 3}, "batch_size=8 must be a multiple of accumulate=3"),
    "group": ({"trainable": ("loar",)}, "no such group: loar"),
    "nothing": ({"trainable": ()}, "nothing is to be trained"),
    "warmup": ({"steps": 1}, "optimizer.warmup=2 must lie between 0 and steps=1"),
    "unbuilt": ({"mixture": (Share(names=("mevis",)),)}, "vglamm data build mevis"),
    "no data": ({"mixture": ()}, "the mixture is empty"),
    "unknown data": ({"mixture": (Share(names=("mavis",)),)}, "no data set 'mavis'"),
    "files": ({"files": (FilesConfig(path="gone"),)}, "gone: no such file or folder"),
    "weights": (
        {"start": StartConfig(checkpoint="gone", tokenizer="gone")},
        "start.checkpoint=gone: no such file or folder",
    ),
    "parts": (
        {"start": StartConfig(parts=("runs/gone/model",))},
        "start.parts.0=runs/gone/model: no such file or folder",
    ),
    "no part": ({"start": StartConfig(parts=(str(ROOT),))}, f"{ROOT}: holds no vglamm.json"),
    "unbuilt evaluation": (
        {"evaluation": EvaluationConfig(every=5, mixture=(Share(names=("mevis",)),))},
        "vglamm data build mevis",
    ),
    "slots": ({"data": dataclasses.replace(DATA, pack=dataclasses.replace(DATA.pack, slots=1))}, "do not fit 1 mask"),
    "tokenizer": (
        {"model": dataclasses.replace(tiny_training.model(), seg_token_id=3)},
        "the tokenizer's [SEG] is 511, but the config's seg_token_id is 3",
    ),
    "saving": ({"save_every": 0}, "save_every=0: must be 1 or more"),
    "logging": ({"log_every": 0}, "log_every=0: must be 1 or more"),
    "keeping": ({"keep": 0}, "keep=0: must be 1 or more"),
    "steps": ({"steps": -1}, "steps=-1: must be 0 or more"),
    "batches": ({"evaluation": EvaluationConfig(every=5, batches=0)}, "evaluation.batches=0: must be 1 or more"),
    "evaluation": ({"evaluation": EvaluationConfig(every=5)}, "evaluation.mixture and evaluation.files are empty"),
}


@pytest.mark.parametrize("name", WRONG)
def test_it_is_one_line_for_a_run_and_for_a_dry_run(name, tmp_path):
    changes, message = WRONG[name]
    cfg = dataclasses.replace(tiny_training.config(tmp_path / "run"), **changes)
    for function in (loop.describe, loop.train):
        assert not (tmp_path / "run").exists()
        with pytest.raises((ValueError, OSError)) as error:
            function(cfg)
        assert message in str(error.value)
        assert "\n" not in str(error.value).strip() and len(str(error.value)) < 600


def test_missing_tensorboard_is_told_by_a_dry_run(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ModuleNotFoundError, match="need tensorboardX: pip install"):
        loop.describe(tiny_training.config(tmp_path, tensorboard=True))


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(arguments)


def test_the_command_takes_overrides_anywhere_and_describes_a_run(capsys):
    args = parsed("--config.steps=9", "--config", tiny_training.__file__, "--dry-run", "--config.accumulate=2")
    assert args.overrides == ["--config.steps=9", "--config.accumulate=2"]
    assert command.main(args) == 0
    said = capsys.readouterr().out
    assert "8 rows a step in 2 micro-batches" in said and "MovingThings" in said and "lora" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--config", "tiny"), "is no training config"),
        (("--config", "train_gone"), "there is no config 'train_gone'"),
        (("--config", tiny_training.__file__, "--config.stesp=1"), "did you mean steps?"),
        (("--config", tiny_training.__file__, "--process", "1"), "--coordinator, --processes missing"),
    ],
)
def test_commands_that_cannot_work(arguments, message):
    with pytest.raises((ValueError, OSError), match=r".") as error:
        command.main(parsed(*arguments))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.mesh.fsdp=7", "mesh data=-1 x fsdp=7 x tensor=1 does not make up the 1 devices there are"),
        ("--config.optimizer.learning_rat=1", "has no field 'learning_rat'; did you mean learning_rate?"),
        ("--config.mixture.0.names=mevis", "built/mevis"),
        ("--config.start.checkpoint=gone", "start.checkpoint=gone: no such file or folder"),
    ],
)
def test_who_types_them_sees_one_line(argument, message, tmp_path, capsys):
    """A checkpoint of another shape is refused in `tests/multiprocess`, where there is one."""
    arguments = ["--config", tiny_training.__file__, f"--config.workdir={tmp_path}", argument]
    assert cli.main(["train", *arguments]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith("vglamm: error: ") and message in said[0]
