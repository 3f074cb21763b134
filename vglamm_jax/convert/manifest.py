"""The manifest that travels with a converted checkpoint: shape, dtype and CRC-32 of every tensor.

The checksum is of a tensor's bytes in PyTorch's layout and its own dtype, under its canonical name, so that the
manifests of an Orbax folder and of the folder it came from say the same.
"""

import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vglamm_jax.convert.torch_io import CheckpointError, LazyTensor, Tensors

MANIFEST = "manifest.json"
FORMAT = "vglamm.manifest/1"


def digest(tensor: np.ndarray) -> str:
    """CRC-32 of the bytes of a tensor, little-endian and row by row: against accidents, at the speed of a copy."""
    return f"{zlib.crc32(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8)):08x}"


@dataclass(frozen=True)
class Entry:
    shape: tuple[int, ...]
    dtype: str
    crc32: str


class Recorder:
    """Tensors that write their checksum down when they are read; `entries` is complete once all were."""

    def __init__(self):
        self.entries: dict[str, Entry] = {}

    def watch(self, name: str, tensor: LazyTensor) -> LazyTensor:
        def read() -> np.ndarray:
            value = tensor.read()
            if name not in self.entries:
                self.entries[name] = Entry(tensor.shape, tensor.dtype.name, digest(value))
            return value

        return LazyTensor(tensor.shape, tensor.dtype, read, tensor.file)

    def watch_all(self, tensors: Tensors) -> dict[str, LazyTensor]:
        return {name: self.watch(name, tensor) for name, tensor in tensors.items()}


def write(folder: Path, entries: Mapping[str, Entry]) -> None:
    """`manifest.json` in `folder`, sorted by name."""
    tensors = {name: vars(entries[name]) for name in sorted(entries)}
    text = json.dumps({"format": FORMAT, "tensors": tensors}, indent=1)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read(folder: Path) -> dict[str, Entry] | None:
    """The entries by canonical name; None where the folder has no manifest.

    Raises:
      CheckpointError: a file of that name that is no such manifest.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}, expected {FORMAT!r}")
        return {
            name: Entry(tuple(entry["shape"]), entry["dtype"], entry["crc32"])
            for name, entry in content["tensors"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: not a manifest of vglamm_jax ({error}); convert again") from error


def check(
    where: str,
    tensors: Tensors,
    entries: Mapping[str, Entry],
    progress: Callable[[int, int], None] | None = None,
    known: Iterable[str] = (),
) -> None:
    """Reads every tensor and compares it with its entry; `known` are problems found before.

    Raises:
      CheckpointError: names every tensor that changed, is missing, or is not in the manifest.
    """
    problems = [*known, *(f"{name} is missing" for name in entries if name not in tensors)]
    problems += [f"{name} is not in the manifest" for name in tensors if name not in entries]
    shared = [name for name in tensors if name in entries]
    total, done = sum(tensors[name].nbytes for name in shared), 0
    for name in shared:
        problems += differences(name, tensors[name], entries[name])
        done += tensors[name].nbytes
        if progress is not None:
            progress(done, total)
    if problems:
        raise CheckpointError(f"{where}: not as its manifest says: {listed(problems)}; convert or copy it again")


def differences(name: str, tensor: LazyTensor, entry: Entry) -> list[str]:
    """Nothing, or one line that says how a tensor is not what its entry says."""
    if (tensor.shape, tensor.dtype.name) != (entry.shape, entry.dtype):
        return [f"{name} is {tensor.dtype.name} {list(tensor.shape)}, was {entry.dtype} {list(entry.shape)}"]
    return [] if digest(tensor.read()) == entry.crc32 else [f"{name} has changed"]


def listed(problems: Iterable[str], most: int = 8) -> str:
    problems = list(problems)
    more = f" and {len(problems) - most} more" if len(problems) > most else ""
    return ", ".join(problems[:most]) + more
