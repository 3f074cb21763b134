"""However devices and micro-batches are laid out, training is the same: eight CPU devices, many layouts."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import train_process
from conftest import LONG

from vglamm_jax.train import mesh
from vglamm_jax.train.config import MeshConfig

ALONE = "1,1,1"
SPREAD = ("1,8,1", "2,2,2", "8,1,1")
SAME = ("1,1,1,accumulate=4", "1,1,1,remat=true", "2,2,2,accumulate=2")


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict:
    script = Path(train_process.HERE).with_name("mesh_runs.py")
    command = [sys.executable, str(script), str(tmp_path_factory.mktemp("meshes")), ALONE, *SPREAD, *SAME]
    done = subprocess.run(command, env=train_process.environment(8), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Involuntary full rematerialization" not in done.stderr
    return json.loads(done.stdout)


@LONG
@pytest.mark.slow
@pytest.mark.parametrize("case", [*SPREAD, *SAME])
def test_losses_and_gradients_are_those_of_one_device_and_one_batch(runs, case):
    for name in ("loss", "ce_loss", "mask_loss", "grad_norm", "tokens"):
        alone, found = ([step[name] for step in runs[one]["metrics"]] for one in (ALONE, case))
        np.testing.assert_allclose(found, alone, rtol=1e-5 if name != "grad_norm" else 1e-4, err_msg=name)


@LONG
@pytest.mark.slow
def test_one_program_does_for_all_steps(runs):
    assert {one: run["entries"] for one, run in runs.items()} == dict.fromkeys(runs, 1)


@LONG
@pytest.mark.slow
def test_the_state_is_spread(runs):
    """Each device holds about its share of what is learnt, of the moments and of the gradients."""
    assert runs["1,1,1"]["share"] == 1
    assert runs["1,8,1"]["share"] < 0.25 and runs["2,2,2"]["share"] < 0.4


def test_meshes_take_the_devices_that_are_left():
    found = mesh.make_mesh(MeshConfig(data=1, fsdp=-1, tensor=1))
    assert dict(found.shape) == {"data": 1, "fsdp": jax.device_count(), "tensor": 1}


@pytest.mark.parametrize(
    ("devices", "cfg", "shape"),
    [
        (8, MeshConfig(), (1, 8, 1)),
        (256, MeshConfig(), (2, 128, 1)),
        (1024, MeshConfig(tensor=4), (2, 128, 4)),
        (512, MeshConfig(slices=8), (8, 64, 1)),
        (48, MeshConfig(slices=2), (6, 8, 1)),
        (256, MeshConfig(data=1), (1, 256, 1)),
    ],
)
def test_weights_are_in_at_most_128_parts_of_a_slice_unless_told(devices, cfg, shape):
    assert mesh.filled((cfg.data, cfg.fsdp, cfg.tensor), devices, cfg.slices) == shape


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        (MeshConfig(fsdp=3), "data=-1 x fsdp=3 x tensor=1 does not make up the 1 devices there are"),
        (MeshConfig(tensor=-1), "one of them may be -1"),
        (MeshConfig(tensor=0), "sizes are 1 or more"),
        (MeshConfig(data=1, slices=2), "mesh.data=1 must be a multiple of mesh.slices=2"),
    ],
)
def test_meshes_that_cannot_be(cfg, message):
    with pytest.raises(ValueError, match=r".") as error:
        mesh.make_mesh(cfg, jax.devices()[:1])
    assert message in str(error.value)
