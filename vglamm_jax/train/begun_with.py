"""What weights a run began with, known by what they are and not by where they lie."""

import json
import zlib
from pathlib import Path
from typing import Any

from vglamm_jax.config import to_json
from vglamm_jax.convert import source
from vglamm_jax.convert.manifest import MANIFEST
from vglamm_jax.convert.orbax_io import is_orbax
from vglamm_jax.convert.torch_io import PICKLES
from vglamm_jax.data.glimpse import glimpse
from vglamm_jax.train.config import TrainConfig

WEIGHTS = (".safetensors", *PICKLES)
PIECES = 256  # of a file of many gigabytes are looked at


def digests(cfg: TrainConfig) -> dict[str, Any]:
    """For each field of `start` that names weights, a digest or a list of them; None where there are none.

    Towers that lie beside a release count as if they had been named. A folder that was moved or converted again from
    the same weights has the same digest.

    Raises:
      FileNotFoundError: they are not there.
    """
    named = {field: value for field, value in to_json(cfg.start).items() if field != "tokenizer"}
    if cfg.start.checkpoint is not None and not is_orbax(cfg.start.checkpoint):
        found = source.find(*(named[name] for name in ("checkpoint", "clip", "internvideo2", "sam2")), cfg.model)
        named |= {"checkpoint": found.folder, "clip": found.clip}
        named |= {"internvideo2": found.internvideo2, "sam2": found.sam2}
    return {field: _each(value) for field, value in named.items()}


def _each(paths: Any) -> Any:
    if isinstance(paths, list | tuple):
        return [_digest(Path(path)) for path in paths]
    return None if paths is None else _digest(Path(paths))


def _digest(path: Path) -> str:
    """Of the manifest, which has a checksum of each tensor; else of sizes and parts of the files with weights."""
    if (path / MANIFEST).is_file():
        return f"{zlib.crc32((path / MANIFEST).read_bytes()):08x}"
    if path.is_file():
        return f"{glimpse(path, PIECES):08x}"
    files = sorted(file for file in path.iterdir() if file.suffix in WEIGHTS)
    return f"{zlib.crc32(json.dumps([[file.name, glimpse(file, PIECES)] for file in files]).encode()):08x}"
