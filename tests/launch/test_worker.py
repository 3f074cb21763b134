"""launch/worker.sh: one run at a time on a machine, and how it ended."""

import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

# Stands in for `vglamm train`: ends as its first argument says; "wait" until told to, like a run that saves and ends.
TRAIN = """\
import pathlib, signal, sys, time
what, done = sys.argv[1], pathlib.Path(sys.argv[sys.argv.index("--done") + 1])
pathlib.Path("began").open("a").write("x")
print("step 1/2", flush=True)
if what == "wait":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    pathlib.Path("ready").touch()
    time.sleep(60)
elif what == "0":
    done.touch()
sys.exit(int(what))
"""


class Worker:
    def __init__(self, folder):
        self.folder = folder
        (folder / "train.py").write_text(TRAIN)
        self.env = os.environ | {"HERE": str(folder), "COMMAND": f"{sys.executable} {folder / 'train.py'}"}

    def command(self, *args: str) -> list[str]:
        return ["bash", str(ROOT / "launch" / "worker.sh"), *args]

    def __call__(self, *args: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            self.command(*args), env=self.env, capture_output=True, text=True, timeout=60, check=False
        )

    def until(self, wanted) -> None:
        for _ in range(600):
            if wanted():
                return
            time.sleep(0.05)
        raise AssertionError(self("status").stdout)

    def status(self) -> str:
        return self("status").stdout.strip().removeprefix("vglamm is ")


@pytest.fixture
def worker(tmp_path):
    worker = Worker(tmp_path)
    yield worker
    worker.env["GRACE"] = "0"
    worker("stop")


@pytest.mark.parametrize(("code", "status"), [("0", "finished"), ("1", "failed 1"), ("2", "failed 2")])
def test_status_says_how_a_run_ended(worker, code, status):
    assert worker.status() == "none"
    assert worker("start", code).returncode == 0
    worker.until(lambda: worker.status() == status)
    assert "step 1/2" in (worker.folder / "run" / "log").read_text()


def test_a_second_start_makes_no_second_run_and_stop_lets_it_save(worker):
    worker("start", "wait")
    worker.until((worker.folder / "ready").exists)
    worker("start", "wait")
    assert worker.status() == "running"
    assert (worker.folder / "began").read_text() == "x"
    assert worker("stop").returncode == 0
    assert worker.status() == "ended"
    worker("start", "0")
    worker.until(lambda: worker.status() == "finished")


def test_a_run_that_was_told_to_end_is_not_finished(worker):
    worker("start", "wait")
    worker.until((worker.folder / "ready").exists)
    os.kill(int((worker.folder / "run" / "pid").read_text()), signal.SIGTERM)  # as when a machine is taken away
    worker.until(lambda: worker.status() == "stopped")


@pytest.mark.parametrize(("code", "returned"), [("0", 0), ("1", 42), ("2", 2), ("wait", 42)])
def test_in_the_foreground_it_returns_what_xpk_starts_again(worker, code, returned):
    process = subprocess.Popen(worker.command("run", code), env=worker.env, stderr=subprocess.DEVNULL)
    if code == "wait":
        worker.until((worker.folder / "ready").exists)
        process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == returned


@pytest.mark.parametrize("script", ["worker.sh", "tpu_vm.sh", "gke_xpk.sh", "local_multiprocess.sh"])
def test_scripts_parse_and_explain_themselves(script):
    path = str(ROOT / "launch" / script)
    assert subprocess.run(["bash", "-n", path], check=False).returncode == 0
    shown = subprocess.run(["bash", path, "--help"], capture_output=True, text=True, timeout=60, check=False)
    assert f"bash launch/{script}" in shown.stdout + shown.stderr and "set -" not in shown.stdout
