"""What the conversion tests share: full configs loaded by path, as the program loads them."""

import importlib.util
from pathlib import Path

import pytest
from tiny_checkpoint import write as write_release

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def load_config(name: str):
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


@pytest.fixture(scope="session")
def published():
    """The full-size configuration; only shapes of it are ever made here."""
    return load_config("videoglamm_phi3")


@pytest.fixture(scope="session")
def tiny():
    return load_config("tiny")


@pytest.fixture(scope="session")
def release(tmp_path_factory):
    """A tiny release in the original's layout, everything safetensors."""
    return write_release(tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="session")
def orbax(release, tmp_path_factory):
    """The same as an Orbax folder."""
    from vglamm_jax.convert.convert import convert

    return convert(release, tmp_path_factory.mktemp("orbax") / "weights").dest
