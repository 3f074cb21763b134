"""What a run of the tests begins with."""

from pathlib import Path

import export_process
import pytest
import tiny_checkpoint

from vglamm_jax.convert.convert import convert
from vglamm_jax.convert.torch_io import open_tensors


@pytest.fixture(scope="session")
def began(tmp_path_factory) -> tuple[Path, Path]:
    """A release in the original's layout, InternVideo2 in bfloat16, and its Orbax folder."""
    folder = tiny_checkpoint.write(tmp_path_factory.mktemp("release"), cfg=export_process.released())
    tower = folder / "internvideo2.safetensors"
    tensors = {name: tensor.read().astype("bfloat16") for name, tensor in open_tensors(tower).items()}
    tiny_checkpoint.save(tower, tensors.items())
    dest = tmp_path_factory.mktemp("orbax") / "weights"
    return folder, convert(folder, dest, config=export_process.released()).dest
