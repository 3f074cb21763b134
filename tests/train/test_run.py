"""A run of `vglamm train` from start to finish: what it writes, and how it stops when it diverges."""

import json

import numpy as np
import pytest
import train_process
from conftest import LONG
from PIL import Image

from vglamm_jax.convert.engine import leaves
from vglamm_jax.convert.load import load
from vglamm_jax.data.tokenizer import load_tokenizer

pytestmark = [pytest.mark.slow, LONG]

WATCHED = (
    "--config.steps=4",
    "--config.log_every=2",
    "--config.export=true",
    "--config.optimizer.ema=0.5",
    "--config.evaluation.every=2",
    "--config.evaluation.batches=1",
    "--config.evaluation.samples=2",
    "--config.accumulate=2",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("watched")
    config = workdir / "with_evaluation.py"
    config.write_text(
        "import dataclasses, tiny_training\n"
        "from vglamm_jax.data.shares import Share\n"
        "def get_config():\n"
        "    cfg = tiny_training.get_config()\n"
        "    cfg.evaluation.mixture = (Share(names=('moving_things',), split='validation'),)\n"
        "    return cfg\n"
    )
    pytest.importorskip("tensorboardX", reason="an extra")
    arguments = (f"--config={config}", "--config.tensorboard=true", *WATCHED)
    code, said = train_process.ended(train_process.start(workdir / "run", *arguments), 400)
    assert code == 0, said
    return workdir / "run", said


def test_metrics_are_written_as_lines_and_events_and_said(finished):
    workdir, said = finished
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    trained, judged = ([line for line in lines if key in line] for key in ("train/loss", "eval/j_and_f"))
    assert [line["step"] for line in trained] == [2, 4] and [line["step"] for line in judged] == [0, 2, 4]
    wanted = {f"train/{name}" for name in ("loss", "ce_loss", "mask_bce_loss", "mask_dice_loss", "grad_norm")}
    wanted |= {f"speed/{name}" for name in ("tokens_per_second", "frames_per_second", "data_stall", "tflops")}
    assert wanted | {"train/learning_rate"} <= trained[0].keys()
    assert all(0 <= line["eval/j"] <= 1 and line["eval/masks"] > 0 for line in judged)
    assert "step 4/4  loss" in said and "J&F" in said
    assert b"eval/j_and_f" in next((workdir / "tensorboard").glob("events*")).read_bytes()


def test_samples_are_pictures_of_the_supervised_frames(finished):
    pictures = sorted((finished[0] / "samples").iterdir())
    assert [path.name for path in pictures][:2] == ["0000000_row0.png", "0000000_row1.png"]
    assert len(pictures) == 6 and np.asarray(Image.open(pictures[0])).shape == (64, 64, 3)


def test_the_finished_model_is_a_checkpoint_to_ask(finished):
    model, cfg, tokenizer = load(finished[0] / "model")
    assert cfg.llm.lora.rank == 4 and load_tokenizer(tokenizer).convert_tokens_to_ids("[SEG]") == cfg.seg_token_id
    learnt = leaves(model)["llm/blocks/self_attn/qkv_proj/lora_b"]
    assert np.abs(np.asarray(learnt)).max() > 0  # starts at zero


def test_a_run_that_diverges_stops_and_says_on_which_rows(tmp_path):
    run = train_process.start(tmp_path, "--config.optimizer.learning_rate=1e30", "--config.optimizer.warmup=0")
    code, said = train_process.ended(run, 400)
    assert code == 1 and "Traceback" not in said, said
    assert "gradient norm" in said and "not_finite_0.json" in said
    assert "lower optimizer.learning_rate: the same command goes on" in said
    report = json.loads((tmp_path / "not_finite_0.json").read_text())
    assert len(report["rows"]) == 8 and {"draw", "source", "record"} == report["rows"][0].keys()
    assert report["rows"][0]["draw"] == 8 * report["step"]
