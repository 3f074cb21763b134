"""`vglamm train` in a process of its own that compiles little: the tests start, kill and restart it.

python train_process.py --config tests/tiny_training.py --config.workdir=DIR ...
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve()
ENVIRONMENT = {"JAX_PLATFORMS": "cpu", "PYTHONUNBUFFERED": "1"}  # and the flags of conftest.py
COMMAND = (sys.executable, str(HERE), "--config", str(HERE.with_name("tiny_training.py")))


def environment(devices: int = 1) -> dict[str, str]:
    return os.environ | ENVIRONMENT | {"JAX_NUM_CPU_DEVICES": str(devices)}


def start(workdir: Path, *arguments: str, devices: int = 1, **options) -> subprocess.Popen:
    """Begins a run of the tiny config in `workdir`."""
    return subprocess.Popen(
        [*COMMAND, f"--config.workdir={workdir}", *arguments],
        env=environment(devices),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def start_two(workdir: Path, *arguments: str) -> list[subprocess.Popen]:
    """Begins it in two processes of one device each; the first listens and writes the metrics."""
    address = f"127.0.0.1:{free_port()}"
    said = ("--coordinator", address, "--processes", "2", "--process")
    return [start(workdir, *arguments, *said, number) for number in "01"]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def ended(process: subprocess.Popen, seconds: float = 900) -> tuple[int, str]:
    """(exit code, what it said)."""
    said = "".join(filter(None, process.communicate(timeout=seconds)))
    return process.returncode, said


def steps_done(workdir: Path) -> list[int]:
    """Steps in metrics.jsonl, in the order they were written; a last line that is not whole does not count."""
    path = Path(workdir) / "metrics.jsonl"
    return [json.loads(line)["step"] for line in path.read_text().split("\n")[:-1]] if path.exists() else []


def wait_for(what: Callable[[], bool], process: subprocess.Popen, seconds: float = 900) -> None:
    """Until it is so, or the process has ended well."""
    for _ in range(int(seconds * 20)):
        if what() or process.poll() == 0:
            return
        assert process.poll() is None, ended(process)
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"not so after {seconds} s: {ended(process)}")


def wait_for_steps(workdir: Path, more: int, process: subprocess.Popen) -> None:
    """Until so many more lines of metrics are there than now."""
    count = len(steps_done(workdir)) + more
    wait_for(lambda: len(steps_done(workdir)) >= count, process)


if __name__ == "__main__":
    from vglamm_jax.cli import use_compilation_cache
    from vglamm_jax.train import command

    use_compilation_cache()
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    try:
        sys.exit(command.main(parser.parse_args()))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
