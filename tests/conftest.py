"""What every test may rely on: the CPU backend, float32 matmuls, and the golden folder where it exists."""

import functools
import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Two workers share two cores: PyTorch's threads would wait for each other, and take half of the time with waiting.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Code is compiled more than it is run here, by processes that tests start, too. The user's flags come last and win.
os.environ["XLA_FLAGS"] = " ".join(
    (
        "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
        "--xla_cpu_use_fusion_emitters=false" * version("jax").startswith(("0.10.", "0.11.")),  # later: not known
        os.environ.get("XLA_FLAGS", ""),
    )
)

import jax
import pytest

jax.config.update("jax_default_matmul_precision", "highest")
# Workers that run at the same time, and tests of one program, share what they compile.
RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
os.environ["VGLAMM_CACHE"] = str(Path(tempfile.gettempdir()) / f"vglamm-tests-{RUN}")
jax.config.update("jax_compilation_cache_dir", os.environ["VGLAMM_CACHE"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def pytest_sessionfinish(session):
    if not hasattr(session.config, "workerinput"):
        shutil.rmtree(os.environ["VGLAMM_CACHE"], ignore_errors=True)


# Each file runs in one worker; those that take minutes begin, so that none is left to one worker at the end.
FIRST = ("test_interrupted_runs.py", "test_aot.py", "test_parity.py", "test_golden.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in FIRST)


# What takes many minutes of both cores each.
LONG = pytest.mark.skipif(
    "VGLAMM_LONG_TESTS" not in os.environ, reason="runs whole trainings for minutes: VGLAMM_LONG_TESTS=1 includes it"
)
ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("VGLAMM_SHARED", ROOT.parent / "shared"))


def shared_path(*parts: str) -> Path:
    """A file of the shared folder of golden vectors and real video, or a skip that says which is missing."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is not here: set VGLAMM_SHARED to the folder with golden/ and data/")
    return path


@pytest.fixture(scope="session")
def golden() -> Path:
    return shared_path("golden", "videoglamm_tiny")


@pytest.fixture(scope="session")
def davis() -> Path:
    return shared_path("data", "davis")


@pytest.fixture(scope="session")
def exact_golden(golden, tmp_path_factory) -> Path:
    """The golden folder with the weights its values were computed from, see `exact_golden.py`."""
    pytest.importorskip("torch", reason="the golden checkpoint is a .bin file")
    from exact_golden import restore

    return restore(golden, tmp_path_factory.mktemp("exact") / golden.name)


# For what runs longer than it compiles: compiled as it is for users.
THOROUGH = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}


@functools.cache
def thorough_follow():
    from vglamm_jax.infer import track

    return jax.jit(track.follow.__wrapped__, donate_argnames="bank", compiler_options=THOROUGH)


@pytest.fixture
def quick_tracking(monkeypatch):
    """Tracking of frames of 1024 pixels, `THOROUGH`."""
    from vglamm_jax.infer import track

    monkeypatch.setattr(track, "follow", thorough_follow())
