"""What the conversion tests share: full configs loaded by path, as the program loads them."""

import importlib.util
from pathlib import Path

import pytest

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
