"""What each kind of file calls its tensors, against their canonical names: those of the complete checkpoint.

Two checkpoints of different kinds are compared and converted through canonical names alone (facts 2.1);
what a file holds besides the rows of the tables keeps its name behind the part's prefix.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from vglamm_jax.config import Sam2Config
from vglamm_jax.convert import tables
from vglamm_jax.convert.tables_hf_sam2 import hf_sam2
from vglamm_jax.convert.tables_sam2 import sam2
from vglamm_jax.convert.torch_io import LazyTensor, Tensors

PREFIXES = {"clip": tables.CLIP_PREFIX, "internvideo2": tables.INTERNVIDEO2_PREFIX, "sam2": tables.SAM2_PREFIX}
LAYER_SCALE = r"^(memory_encoder\.fuser\.layers\.\d+)\."
Place = tuple[str, tuple[int, int] | None]  # name in the file, and which of how many equal parts of its rows


def part_of(name: str) -> str:
    """The part a canonical name belongs to: "clip", "internvideo2", "sam2", or "home" for the rest."""
    return next((part for part, prefix in PREFIXES.items() if name.startswith(prefix)), "home")


def from_clip(tensors: Tensors) -> dict[str, LazyTensor]:
    return {tables.CLIP_PREFIX + name: tensor for name, tensor in tensors.items()}


def from_internvideo2(tensors: Tensors) -> dict[str, LazyTensor]:
    return {tables.INTERNVIDEO2_PREFIX + name: tensor for name, tensor in tensors.items()}


def from_meta_sam2(tensors: Tensors) -> dict[str, LazyTensor]:
    """The memory encoder's `gamma` is `weight` in the complete checkpoint (facts 1.10)."""
    rename = re.compile(LAYER_SCALE + r"gamma$")
    return {tables.SAM2_PREFIX + rename.sub(r"\1.weight", name): tensor for name, tensor in tensors.items()}


def to_meta_sam2(tensors: Tensors, *, gamma: bool = True) -> dict[str, LazyTensor]:
    """Meta's own files say `gamma`; a SAM2 cut out of VideoGLaMM may say `weight`."""
    rename, leaf = re.compile(LAYER_SCALE + r"weight$"), "gamma" if gamma else "weight"
    return {rename.sub(rf"\1.{leaf}", name): tensor for name, tensor in without_prefix(tensors, "sam2").items()}


def without_prefix(tensors: Tensors, part: str) -> dict[str, LazyTensor]:
    """The tensors of one part under the names of its own file."""
    prefix = PREFIXES[part]
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def from_transformers_sam2(tensors: Tensors, cfg: Sam2Config) -> dict[str, LazyTensor]:
    """Transformers keeps the four kinds of points in one tensor; here each has its own."""
    places = dict(_transformers_places(cfg))
    found = {name: _piece(tensors[key], pick) for name, (key, pick) in places.items() if key in tensors}
    rest = set(tensors) - {key for key, _ in places.values()}
    return found | {tables.SAM2_PREFIX + key: tensors[key] for key in tensors if key in rest}


def to_transformers_sam2(tensors: Tensors, cfg: Sam2Config) -> dict[str, LazyTensor]:
    """The inverse of `from_transformers_sam2`."""
    places, pieces = dict(_transformers_places(cfg)), {}
    for name, tensor in tensors.items():
        key, _ = places.get(name, (name.removeprefix(tables.SAM2_PREFIX), None))
        pieces.setdefault(key, []).append(tensor)
    return {key: parts[0] if len(parts) == 1 else joined(parts) for key, parts in pieces.items()}


def _transformers_places(cfg: Sam2Config) -> Iterator[tuple[str, Place]]:
    for meta, theirs in zip(sam2(cfg, layer_scale="weight"), hf_sam2(cfg), strict=True):
        for name, key in zip(meta.names(), theirs.names(), strict=True):
            yield tables.SAM2_PREFIX + name, (key, theirs.transform.pick)


def _piece(tensor: LazyTensor, pick: tuple[int, int] | None) -> LazyTensor:
    if pick is None:
        return tensor
    which, count = pick
    shape = (tensor.shape[0] // count, *tensor.shape[1:])
    return replace(tensor, shape=shape, read=lambda: np.split(tensor.read(), count)[which])


def joined(parts: list[LazyTensor]) -> LazyTensor:
    """Tensors one after another along their rows."""
    shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
    return replace(parts[0], shape=shape, read=lambda: np.concatenate([part.read() for part in parts]))


def renamed(tensors: Tensors, names: Mapping[str, str]) -> dict[str, LazyTensor]:
    """Tensors under other names; those that `names` lacks keep theirs."""
    return {names.get(name, name): tensor for name, tensor in tensors.items()}
