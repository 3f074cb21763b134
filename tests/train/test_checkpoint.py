"""Which checkpoints a run goes on from, and what it says of those it cannot. The state is as small as it gets."""

import copy
import dataclasses
import json
import shutil
from operator import attrgetter

import jax.numpy as jnp
import pytest
import tiny_training

from vglamm_jax.data.augment import AugmentConfig
from vglamm_jax.train.checkpoint import Checkpoints, ResumeError
from vglamm_jax.train.config import StartConfig
from vglamm_jax.train.state import State

DATA = {"fingerprint": 7, "contents": [["films", "aa"], ["made up", None]]}


def state_of(step: int) -> State:
    return State(jnp.int32(step), {"w": jnp.full(4, float(step))}, {}, {"m": jnp.zeros(4)})


def save(cfg):
    written = Checkpoints(cfg)
    written.save(3, state_of(3), DATA)
    written.wait()
    written.close()
    return cfg


def restored(cfg, data=DATA) -> State:
    found = Checkpoints(cfg)
    state = found.restore(state_of(0), data)
    found.close()
    return state


@pytest.fixture
def saved(tmp_path):
    """The config of a run that has saved step 3."""
    return save(tiny_training.config(tmp_path, steps=6))


def refusal(cfg, data=DATA) -> str:
    """What is said of the newest checkpoint, in one line."""
    found = Checkpoints(cfg)
    with pytest.raises(ResumeError) as error:
        found.restore(state_of(0), data)
    found.close()
    assert "\n" not in str(error.value) and f"{cfg.workdir}/checkpoints/3" in str(error.value)
    return str(error.value)


def test_the_newest_is_restored(saved):
    state = restored(saved)
    assert int(state.step) == 3 and state.train["w"].tolist() == [3.0] * 4


def test_a_run_of_fewer_steps_is_refused(saved):
    assert "has done 3 steps, steps=2 is fewer; raise steps" in refusal(dataclasses.replace(saved, steps=2))


@pytest.mark.parametrize("damage", ["state", "state/_METADATA", "cut"])
def test_a_damaged_one_is_named(saved, tmp_path, damage):
    state = tmp_path / "checkpoints" / "3" / "state"
    if damage == "state":
        shutil.rmtree(state)
    elif damage == "cut":
        (state / "_METADATA").write_text((state / "_METADATA").read_text()[:10])
    else:
        (state / "_METADATA").unlink()
    assert "cannot be read" in (said := refusal(saved)) and "remove it to go on from the one before" in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 4}, "was trained with batch_size=8, here 4; use the same, or another workdir"),
        ({"seed": 1}, "seed=0, here 1"),
        ({"data.pack.mask_size": 32}, "data.pack.mask_size=16, here 32"),
        ({"data.augment": AugmentConfig()}, "data.augment=None, here {"),
        ({"model.llm.lora.alpha": 9}, "model.llm.lora.alpha=8, here 9"),
    ],
)
def test_settings_that_change_rows_or_the_model_are_refused_by_name(saved, change, message):
    assert message in refusal(changed(saved, change))


def test_settings_that_change_nothing_learnt_may_differ(saved):
    other = {"data.threads": 0, "data.ahead": 9, "data.strict": True, "optimizer.learning_rate": 1.0, "accumulate": 2}
    assert int(restored(changed(saved, other)).step) == 3


def changed(cfg, fields):
    cfg = copy.deepcopy(cfg)
    for name, value in fields.items():
        holder, _, field = name.rpartition(".")
        setattr(attrgetter(holder)(cfg) if holder else cfg, field, value)
    return cfg


def test_data_that_was_built_again_is_refused(saved):
    again = DATA | {"contents": [["there/films", "bb"], ["made up", None]]}
    assert "there/films holds other examples than when it was written" in refusal(saved, again)
    assert "was trained on other data" in refusal(saved, DATA | {"fingerprint": 8})
    moved = DATA | {"contents": [["there/films", "aa"], ["made up", None]]}
    assert int(restored(saved, moved).step) == 3


def part(folder, weights: str) -> str:
    """What stands for an exported model: its name is `model`, as that of every run."""
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "manifest.json").write_text(weights)
    return str(folder / "model")


def test_other_weights_in_a_folder_of_the_same_name_are_refused(tmp_path):
    first, other, moved = (part(tmp_path / name, name[0]) for name in ("first", "other", "first_moved"))
    cfg = save(tiny_training.config(tmp_path / "run", start=StartConfig(parts=(first,))))
    assert int(restored(changed(cfg, {"start.parts": (moved,)})).step) == 3
    message = f"its run began with other weights, start.parts=['{first}']; what this one says, ['{other}'], does not"
    assert message in refusal(changed(cfg, {"start.parts": (other,)}))
    (tmp_path / "first" / "model" / "manifest.json").write_text("replaced in place")
    assert "its run began with other weights" in refusal(cfg)


def test_those_of_earlier_versions_are_known_by_names(tmp_path):
    """They say nothing of contents, nor of weights but where they were."""
    cfg = save(tiny_training.config(tmp_path / "run", start=StartConfig(parts=(part(tmp_path / "first", "1"),))))
    for item, fields in {"data": ("contents",), "meta": ("start",)}.items():
        path = tmp_path / "run" / "checkpoints" / "3" / item / "metadata"
        path.write_text(
            json.dumps({key: one for key, one in json.loads(path.read_text()).items() if key not in fields})
        )
    other = part(tmp_path / "other", "2")
    assert int(restored(changed(cfg, {"start.parts": (other,)})).step) == 3
    assert "its run began with other weights" in refusal(changed(cfg, {"start.parts": (str(tmp_path / "other"),)}))
