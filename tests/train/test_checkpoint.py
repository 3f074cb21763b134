"""Which checkpoints a run goes on from, and what it says of those it cannot. The state is as small as it gets."""

import dataclasses
import shutil

import jax.numpy as jnp
import pytest
import tiny_training

from vglamm_jax.train.checkpoint import Checkpoints, ResumeError
from vglamm_jax.train.state import State

DATA = 7


def state_of(step: int) -> State:
    return State(jnp.int32(step), {"w": jnp.full(4, float(step))}, {}, {"m": jnp.zeros(4)})


@pytest.fixture
def saved(tmp_path):
    """The config of a run that has saved step 3."""
    cfg = tiny_training.config(tmp_path, steps=6)
    written = Checkpoints(cfg)
    written.save(3, state_of(3), DATA)
    written.wait()
    written.close()
    return cfg


def refusal(cfg, data=DATA) -> str:
    """What is said of the newest checkpoint, in one line."""
    found = Checkpoints(cfg)
    with pytest.raises(ResumeError) as error:
        found.restore(state_of(0), data)
    found.close()
    assert "\n" not in str(error.value) and f"{cfg.workdir}/checkpoints/3" in str(error.value)
    return str(error.value)


def test_the_newest_is_restored(saved):
    found = Checkpoints(saved)
    state = found.restore(state_of(0), DATA)
    found.close()
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
