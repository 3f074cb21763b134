"""Runs that are killed, told to end, moved to other meshes and numbers of processes: they end where one run would.

One uninterrupted run of `vglamm train` is the reference; every other one is a process, too, that is stopped at some
step and started again with the same command.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import train_process
from conftest import LONG, ROOT

STEPS = 12
RUN = (f"--config.steps={STEPS}", "--config.save_every=2", "--config.keep=4")

pytestmark = [pytest.mark.slow, LONG]


def final(workdir: Path) -> dict[str, np.ndarray]:
    """The last checkpoint's arrays by name."""
    folder = workdir / "checkpoints" / str(STEPS) / "state"
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        tree = checkpointer.metadata(folder).item_metadata.tree
        args = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        return checkpointer.restore(folder, ocp.args.PyTreeRestore(restore_args=args))


def weights(state: dict[str, np.ndarray]) -> np.ndarray:
    """What is learnt, but for biases of keys: softmax cancels them, so Adam makes steps of their rounding noise."""
    names = [name for name in sorted(state) if name.startswith("train.") and not name.endswith("k_proj.bias")]
    return np.concatenate([state[name].ravel() for name in names])


def losses(workdir: Path) -> list[float]:
    return [json.loads(line)["train/loss"] for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("whole")
    code, said = train_process.ended(train_process.start(workdir, *RUN))
    assert code == 0, said
    assert train_process.steps_done(workdir) == list(range(1, STEPS + 1))
    return workdir


@pytest.fixture(scope="module")
def whole(whole_run) -> dict[str, np.ndarray]:
    return final(whole_run)


def test_killed_then_told_to_end_then_finished_is_bitwise_the_uninterrupted_run(whole, tmp_path):
    killed = train_process.start(tmp_path, *RUN)
    train_process.wait_for(tmp_path, 3, killed)
    killed.kill()
    assert train_process.ended(killed)[0] == -signal.SIGKILL
    told = train_process.start(tmp_path, *RUN)
    train_process.wait_for(tmp_path, len(train_process.steps_done(tmp_path)) + 1, told)
    told.send_signal(signal.SIGTERM)
    code, said = train_process.ended(told, 60)
    assert code == 0 and ("told to end: saved step" in said or STEPS in train_process.steps_done(tmp_path)), said
    code, said = train_process.ended(train_process.start(tmp_path, *RUN))
    assert code == 0 and "going on from step" in said, said
    found = final(tmp_path)
    assert found.keys() == whole.keys()
    assert all(found[name].tobytes() == whole[name].tobytes() for name in whole)


def test_two_processes_go_on_from_one_lose_one_and_end_where_one_would(whole_run, whole, tmp_path):
    """Over gloo, by launch/local_multiprocess.sh, which starts both again; they begin with what one process saved."""
    shutil.copytree(whole_run / "checkpoints" / "6", tmp_path / "checkpoints" / "6")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = Path(train_process.HERE)
    env = os.environ | train_process.ENVIRONMENT | {"PORT": str(port), "COMMAND": f"{sys.executable} {process}"}
    command = ["bash", str(ROOT / "launch" / "local_multiprocess.sh"), "2", "--config"]
    command += [str(process.with_name("tiny_training.py")), f"--config.workdir={tmp_path}", *RUN]
    launch = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    train_process.wait_for(tmp_path, 3, launch)
    children = subprocess.run(["pgrep", "-P", str(launch.pid)], capture_output=True, text=True).stdout.split()
    second = next(pid for pid in children if Path(f"/proc/{pid}/cmdline").read_bytes().endswith(b"--process\x001\x00"))
    os.kill(int(second), signal.SIGKILL)
    said = launch.communicate(timeout=400)[0]
    assert launch.returncode == 0, said
    assert "starting again" in said and "going on from step 6" in said and said.count("going on from") == 2, said
    assert "Involuntary full rematerialization" not in said
    np.testing.assert_allclose(weights(final(tmp_path)), weights(whole), atol=2e-4)
    np.testing.assert_allclose(losses(tmp_path)[-3:], losses(whole_run)[-3:], rtol=1e-5)


def test_a_checkpoint_of_another_model_or_start_is_refused_in_one_line(whole_run):
    for change, message in (
        ("model.llm.lora.rank=2", "is [2, 32, 4], here [2, 32, 2]; use another workdir"),
        ("trainable=lora", "is not part of this run"),
        ("data.seed=1", "was trained on other data"),
    ):
        code, said = train_process.ended(train_process.start(whole_run, *RUN, f"--config.{change}"))
        assert code == 1 and "Traceback" not in said, said
        line = next(line for line in said.splitlines() if line.startswith("error:"))
        assert f"checkpoints/{STEPS}" in line and message in line
