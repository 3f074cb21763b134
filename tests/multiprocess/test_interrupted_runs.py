"""Runs that are killed, told to end, moved to other meshes and numbers of processes: they end where one run would.

One uninterrupted run of `vglamm train` is the reference; every other one is a process, too, that is stopped at some
moment and started again with the same command. With VGLAMM_LONG_TESTS one run is killed VGLAMM_KILLS times and goes
on on other devices each time.
"""

import json
import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tiny_training
import train_process
from conftest import LONG, ROOT

from vglamm_jax import cli

KILLS = int(os.environ.get("VGLAMM_KILLS", "2"))
STEPS = max(12, 5 * KILLS)
LENGTH = f"--config.steps={STEPS}"
NEAR = {"rtol": 0, "atol": 1e-5}
# (processes, devices of each, mesh): where a run that is killed goes on.
LAYOUTS = [(1, 8, "1,8,1"), (2, 1, "1,2,1"), (1, 8, "2,2,2"), (1, 1, "1,1,1"), (1, 2, "2,1,1"), (1, 4, "1,2,2")]

pytestmark = pytest.mark.slow


def final(workdir: Path) -> dict[str, np.ndarray]:
    """The last checkpoint's arrays by name: step, weights and moments."""
    folder = workdir / "checkpoints" / str(STEPS) / "state"
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        tree = checkpointer.metadata(folder).item_metadata.tree
        args = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        return checkpointer.restore(folder, ocp.args.PyTreeRestore(restore_args=args))


def assert_same_weights(workdir: Path, whole: dict[str, np.ndarray]) -> None:
    """All that is learnt, every array of it."""
    found = final(workdir)
    assert found.keys() == whole.keys()
    for name in filter(lambda name: name.startswith("train."), whole):
        np.testing.assert_allclose(found[name], whole[name], **NEAR, err_msg=name)


def assert_ends_as(
    whole_run: Path, whole: dict[str, np.ndarray], workdir: Path, processes: list[subprocess.Popen]
) -> None:
    """The last start of a run: it goes on, ends well, and gives the losses and weights of the whole run."""
    (code, said), *others = [train_process.ended(process) for process in processes]
    assert code == 0 and all(other == 0 for other, _ in others), said
    assert "going on from step" in said and "Involuntary full rematerialization" not in said
    assert_same_weights(workdir, whole)
    wanted, found = losses(whole_run), losses(workdir)
    np.testing.assert_allclose([found[step] for step in wanted], list(wanted.values()), rtol=1e-5)


def losses(workdir: Path) -> dict[int, float]:
    """By step; what a run that was killed did again counts once."""
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["train/loss"] for line in lines}


def told_to_end(process: subprocess.Popen) -> str:
    process.send_signal(signal.SIGTERM)
    code, said = train_process.ended(process, seconds=10)
    assert code == 0, said
    return said


def kill_at_random(workdir: Path, processes: list[subprocess.Popen], rng: np.random.Generator) -> None:
    """While it starts, compiles, steps or writes a checkpoint; all processes that belong together."""
    lines = int(rng.choice([0, 4, 5, 6]))  # 4: a checkpoint has been begun a step before
    if lines:
        wait_until_begun(workdir, processes[0])
        train_process.wait_for_steps(workdir, lines, processes[0])
    time.sleep(rng.uniform(0, 0.5 if lines else 10))
    for process in reversed(processes):
        process.kill()
        process.communicate()


def wait_until_begun(workdir: Path, process: subprocess.Popen) -> None:
    """Until it has written metrics.jsonl anew, without the steps that it does again: those must not count."""
    path = workdir / "metrics.jsonl"
    before = path.stat().st_ino if path.exists() else None
    train_process.wait_for(lambda: path.exists() and path.stat().st_ino != before, process)


def started(workdir: Path, layout: tuple[int, int, str]) -> list[subprocess.Popen]:
    processes, devices, mesh = layout
    sizes = [LENGTH]
    sizes += [f"--config.mesh.{axis}={size}" for axis, size in zip(("data", "fsdp", "tensor"), mesh.split(","))]
    if processes == 2:
        return train_process.start_two(workdir, *sizes)
    return [train_process.start(workdir, *sizes, devices=devices)]


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("whole")
    code, said = train_process.ended(train_process.start(workdir, LENGTH))
    assert code == 0, said
    assert train_process.steps_done(workdir) == list(range(1, STEPS + 1))
    return workdir


@pytest.fixture(scope="module")
def whole(whole_run) -> dict[str, np.ndarray]:
    return final(whole_run)


def test_on_the_same_mesh_it_is_bitwise_the_uninterrupted_run(whole, tmp_path):
    """Told to end before its first step, killed at random, told to end between steps, then finished."""
    told = train_process.start(tmp_path, LENGTH)
    train_process.wait_for((tmp_path / "config.json").exists, told)  # written when all but the first step is ready
    assert "nothing to save" in told_to_end(told)
    kill_at_random(tmp_path, started(tmp_path, (1, 1, "1,1,1")), np.random.default_rng(0))
    told = train_process.start(tmp_path, LENGTH)
    train_process.wait_for_steps(tmp_path, 1, told)
    said = told_to_end(told)
    assert "told to end: saved step" in said or STEPS in train_process.steps_done(tmp_path), said
    code, said = train_process.ended(train_process.start(tmp_path, LENGTH))
    assert code == 0 and "going on from step" in said, said
    found = final(tmp_path)
    assert found.keys() == whole.keys()
    assert [name for name in whole if found[name].tobytes() != whole[name].tobytes()] == []
    assert set(losses(tmp_path)) == set(range(1, STEPS + 1))


@LONG
def test_killed_again_and_again_on_all_layouts_it_is_the_same(whole, whole_run, tmp_path):
    rng = np.random.default_rng(1)
    for kill in range(KILLS):
        kill_at_random(tmp_path, started(tmp_path, LAYOUTS[kill % len(LAYOUTS)]), rng)
    assert_ends_as(whole_run, whole, tmp_path, started(tmp_path, LAYOUTS[KILLS % len(LAYOUTS)]))


def test_two_processes_lose_one_start_again_are_told_to_end_and_one_goes_on(whole, whole_run, tmp_path):
    """Over gloo, by launch/local_multiprocess.sh, which starts both again when one dies; then eight devices of one."""
    env = train_process.environment() | {"PORT": str(train_process.free_port())}
    env["COMMAND"] = " ".join(train_process.COMMAND[:2])
    command = ["bash", str(ROOT / "launch" / "local_multiprocess.sh"), "2", *train_process.COMMAND[2:]]
    command += [f"--config.workdir={tmp_path}", LENGTH]
    launch = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    train_process.wait_for_steps(tmp_path, 3, launch)
    which = ["pgrep", "-P", str(launch.pid), "-f", "--", "--process 1$"]  # the launcher's sleeps come and go
    second = subprocess.run(which, capture_output=True, text=True, check=True).stdout
    os.kill(int(second), signal.SIGKILL)
    train_process.wait_for_steps(tmp_path, 2, launch)
    launch.terminate()
    said = launch.communicate(timeout=60)[0]
    assert launch.returncode == 0 and "starting again" in said, said
    assert "told to end: saved step" in said or STEPS in train_process.steps_done(tmp_path), said
    assert_ends_as(whole_run, whole, tmp_path, started(tmp_path, (1, 8, "2,2,2")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model.llm.lora.rank=2", "lora_b is [2, 4, 96], here [2, 2, 96]"),
        ("trainable=lora", "is not part of this run"),
        ("data.seed=1", "was trained with data.seed=0, here 1"),
    ],
)
def test_a_checkpoint_of_another_model_or_data_is_refused_in_one_line(whole_run, change, message, capsys):
    arguments = [
        "train",
        "--config",
        tiny_training.__file__,
        f"--config.workdir={whole_run}",
        LENGTH,
        f"--config.{change}",
    ]
    assert cli.main(arguments) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith(f"vglamm: error: {whole_run}/checkpoints/{STEPS}")
    assert message in said[0]


def test_a_full_disk_is_told_in_one_line(whole_run, tmp_path):
    """A limit on the size of a file stands for the end of the disk: the first checkpoint does not fit."""
    limit = (200_000, 200_000)
    # Compiled by `whole_run`: the cache has room for no more either.
    run = train_process.start(tmp_path, LENGTH, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    code, said = train_process.ended(run)
    assert code == 1, said
    assert said.splitlines()[-1].startswith(f"error: {tmp_path}/checkpoints: a checkpoint could not be written (File")
    assert "Traceback" not in said and "never retrieved" not in said
