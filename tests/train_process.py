"""`vglamm train` in a process of its own that compiles little and quickly: the tests start, kill and restart it.

python train_process.py --config tests/tiny_training.py --config.workdir=DIR ...
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve()
# Code is compiled more than it is run here; and eight devices on two cores wait for each other for ever unless each
# has a thread (NPROC).
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "NPROC": "32",
    "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
    "PYTHONUNBUFFERED": "1",
}


def start(workdir: Path, *arguments: str, devices: int = 1, **options) -> subprocess.Popen:
    """Begins a run of the tiny config in `workdir`."""
    env = os.environ | ENVIRONMENT | {"JAX_NUM_CPU_DEVICES": str(devices)}
    command = [sys.executable, str(HERE), "--config", str(HERE.with_name("tiny_training.py"))]
    return subprocess.Popen(
        [*command, f"--config.workdir={workdir}", *arguments],
        env=env,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def ended(process: subprocess.Popen, seconds: float = 300) -> tuple[int, str]:
    """(exit code, what it said)."""
    said = "".join(process.communicate(timeout=seconds))
    return process.returncode, said


def steps_done(workdir: Path) -> list[int]:
    """Steps in metrics.jsonl, in the order they were written."""
    path = Path(workdir) / "metrics.jsonl"
    return [json.loads(line)["step"] for line in path.read_text().splitlines()] if path.exists() else []


def wait_for(workdir: Path, count: int, process: subprocess.Popen, seconds: float = 300) -> None:
    """Until so many lines of metrics are there."""
    for _ in range(int(seconds * 20)):
        if len(steps_done(workdir)) >= count:
            return
        assert process.poll() is None, ended(process)
        time.sleep(0.05)
    raise AssertionError(f"after {seconds} s only steps {steps_done(workdir)}")


if __name__ == "__main__":
    import jax

    from vglamm_jax.cli import use_compilation_cache
    from vglamm_jax.train import command

    use_compilation_cache()
    jax.config.update("jax_default_matmul_precision", "highest")
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    try:
        sys.exit(command.main(parser.parse_args()))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
