"""Compares two checkpoints of any kinds, tensor by tensor, or one with its own manifest."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vglamm_jax.config import VideoGlammConfig
from vglamm_jax.convert import manifest
from vglamm_jax.convert.checkpoint import FLOATS, Checkpoint
from vglamm_jax.convert.engine import Progress
from vglamm_jax.convert.kinds import open_checkpoint
from vglamm_jax.convert.layouts import part_of
from vglamm_jax.convert.torch_io import CheckpointError, LazyTensor


@dataclass
class Comparison:
    """What two checkpoints have in common and what not; `equal` if every shared part is, bit for bit.

    A part (CLIP, InternVideo2, SAM2, and the rest) that only one of them holds is named, and is no difference.
    """

    same: int = 0
    differing: list[str] = field(default_factory=list)  # one line a tensor
    parts: tuple[str, ...] = ()  # compared
    other_parts: dict[str, list[str]] = field(default_factory=dict)  # where -> parts only it holds

    @property
    def equal(self) -> bool:
        return not self.differing and self.same > 0


def compare(
    first: str | Path | list[str | Path],
    second: str | Path | list[str | Path],
    config: VideoGlammConfig | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Reads both and compares every tensor of the parts both hold, bit for bit, under canonical names.

    Raises:
      FileNotFoundError, CheckpointError: one of them cannot be read.
    """
    a, b = (_open(where, config) for where in (first, second))
    parts = _parts(a) & _parts(b)
    found = Comparison(parts=tuple(sorted(parts)))
    for one, other in ((a, b), (b, a)):
        alone = sorted(_parts(one) - _parts(other))
        found.other_parts |= {one.where: alone} if alone else {}
    found.differing += [line for one in (a, b) for line in _changed_copies(one)]
    names = [name for name in a.tensors if part_of(name) in parts]
    names += [name for name in b.tensors if part_of(name) in parts and name not in a.tensors]
    total, done = sum(a.tensors[name].nbytes for name in names if name in a.tensors), 0
    for name in names:
        line = _difference(name, a, b)
        found.same += line is None
        found.differing += [line] if line else []
        done += a.tensors[name].nbytes if name in a.tensors else 0
        if progress is not None:
            progress(done, total)
    return found


def _open(where: str | Path | list[str | Path], config: VideoGlammConfig | None) -> Checkpoint:
    return open_checkpoint(where if isinstance(where, list) else [where], config).checkpoint


def _changed_copies(checkpoint: Checkpoint) -> list[str]:
    """Tensors that are there once more and are not as the folder's own manifest says."""
    entries = manifest.read(Path(checkpoint.where)) if checkpoint.copies else None
    shared = [name for name in checkpoint.copies if name in (entries or {})]
    lines = [line for name in shared for line in manifest.differences(name, checkpoint.copies[name], entries[name])]
    return [f"{checkpoint.where}: {line}" for line in lines]


def _parts(checkpoint: Checkpoint) -> set[str]:
    return {part_of(name) for name in checkpoint.tensors}


def _difference(name: str, a: Checkpoint, b: Checkpoint) -> str | None:
    """One line, or None where the tensors are the same."""
    for here, there in ((a, b), (b, a)):
        if name not in here.tensors:
            return f"{name}: only in {there.where}"
    one, other = a.tensors[name], b.tensors[name]
    if one.shape != other.shape:
        return f"{name}: {list(one.shape)} in {a.where}, {list(other.shape)} in {b.where}"
    if one.dtype == other.dtype:
        return _changed(name, one.read(), other.read())
    return _rounded(name, one, other)


def _changed(name: str, one: np.ndarray, other: np.ndarray) -> str | None:
    if np.array_equal(_bits(one), _bits(other)):
        return None
    return f"{name}: {_distance(one, other)}"


def _bits(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)


def _distance(one: np.ndarray, other: np.ndarray) -> str:
    if one.dtype not in FLOATS:
        return f"{int((one != other).sum())} of {one.size} values differ"
    a, b = one.astype(np.float64), other.astype(np.float64)
    differ = int((a != b).sum())
    if not differ:
        return "equal values of other bits (signs of zero or NaN)"
    return f"{differ} of {one.size} values differ, by {np.nanmax(np.abs(a - b)):.3g} at most"


def _rounded(name: str, one: LazyTensor, other: LazyTensor) -> str:
    """Another dtype is a difference; whether it is only rounding is what people want to know."""
    narrow = min(one.dtype, other.dtype, key=lambda dtype: dtype.itemsize)
    a, b = one.read().astype(narrow), other.read().astype(narrow)
    same = np.array_equal(_bits(a), _bits(b))
    return f"{name}: {one.dtype.name} and {other.dtype.name}, {'equal' if same else 'different'} as {narrow.name}"


def check(where: str | Path, config: VideoGlammConfig | None = None, progress: Progress | None = None) -> int:
    """Compares a converted checkpoint with the manifest that was written with it; returns the number of tensors.

    Raises:
      CheckpointError: it has no manifest, or names every tensor that changed since.
    """
    entries = manifest.read(Path(where)) if Path(where).is_dir() else None
    if entries is None:
        raise CheckpointError(f"{where}: has no {manifest.MANIFEST}; give a second checkpoint to compare it with")
    found = _open(where, config)
    manifest.check(str(where), found.tensors, entries, progress, _changed_copies(found))
    return len(entries)
