"""Checkpoints as Orbax folders: written leaf by leaf, restored onto any mesh and dtype, read tensor by tensor.

    FOLDER/
      vglamm.json     what this is: sizes, the whole model's config, where each part came from
      manifest.json   a checksum per tensor, see `manifest`
      params/         Orbax: our parameters as a tree of their paths (`llm/blocks/self_attn/qkv_proj/kernel`)
      extras/         Orbax: tensors that no forward pass here uses, by canonical name
      files/          what travels along: config.json, tokenizer, ...

`params/` is a plain PyTree checkpoint: Orbax restores it without this package.
"""

import contextlib
import functools
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from vglamm_jax.config import to_json
from vglamm_jax.convert import engine, manifest
from vglamm_jax.convert.checkpoint import Checkpoint, slots
from vglamm_jax.convert.torch_io import LazyTensor

DESCRIPTION = "vglamm.json"
FORMAT = "vglamm.checkpoint/1"
GROUP_BYTES = 2**28  # parameters written together, if not one alone is larger
CHUNK_BYTES = 32 * 2**20  # of one stored piece: a layer of a stack is read without its neighbours


@dataclass(frozen=True)
class Leaf:
    """A parameter to be written: its array exists only while it is."""

    shape: tuple[int, ...]
    dtype: np.dtype
    make: Callable[[], np.ndarray]
    stacked: bool = False

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize


class LeafHandler(ocp.type_handlers.NumpyHandler):
    """Writes leaves as Orbax writes numpy arrays, a few at a time."""

    def __init__(self):
        super().__init__(deepcopy_host_arrays=False)

    async def serialize(self, values, infos, args=None):
        for group in _groups([value.nbytes for value in values]):
            begun = []
            for n in group:
                begun += await super().serialize([values[n].make()], [infos[n]], [args[n]])
            _wait(begun)
        return []


def _wait(begun: list[ocp.future.Future]) -> None:
    """Until all writes have ended, so that none goes on after an error of another."""
    errors = []
    for write in begun:
        try:
            write.result()
        except Exception as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _groups(sizes: list[int]) -> list[list[int]]:
    """Indices in order, as many together as stay below `GROUP_BYTES`."""
    groups, filled = [[]], 0
    for n, size in enumerate(sizes):
        if groups[-1] and filled + size > GROUP_BYTES:
            groups.append([])
            filled = 0
        groups[-1].append(n)
        filled += size
    return groups


def is_orbax(folder: str | Path) -> bool:
    return (epath.Path(folder) / DESCRIPTION).is_file()


def write(checkpoint: Checkpoint, folder: Path, progress: engine.Progress | None = None) -> None:
    """Writes the checkpoint into an existing, empty folder; memory holds one large parameter at a time."""
    recorder, report = manifest.Recorder(), engine.Report(checkpoint.nbytes, progress)
    tensors = {name: report.watch(recorder.watch(name, t)) for name, t in checkpoint.tensors.items()}
    places: dict[str, list[engine.Slot]] = {}
    for slot in slots(checkpoint):
        places.setdefault(slot.path, []).append(slot)
    _save(folder / "params", {tuple(path.split("/")): _leaf(found, tensors) for path, found in places.items()})
    placed = {slot.key for found in places.values() for slot in found}
    carried = {(name,): _carried(t) for name, t in tensors.items() if name not in placed}
    if carried:
        _save(folder / "extras", carried)
    for name, path in checkpoint.files.items():
        target = folder / "files" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    manifest.write(folder, recorder.entries)
    # Last, for a folder without it is not taken for a checkpoint.
    (folder / DESCRIPTION).write_text(json.dumps(_description(checkpoint), indent=1) + "\n", encoding="utf-8")


def _description(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "sizes": to_json(checkpoint.sizes),
        "model": to_json(checkpoint.model) if checkpoint.model is not None else None,
        "layouts": checkpoint.layouts,
        "tensors": list(checkpoint.tensors),
    }


def _leaf(found: list[engine.Slot], tensors: Mapping[str, LazyTensor]) -> Leaf:
    """A parameter from its tensors; a stack of tensors of different types takes the type that holds them all."""
    dtype = functools.reduce(np.promote_types, {tensors[slot.key].dtype for slot in found})
    shape = found[0].parameter_shape

    def make() -> np.ndarray:
        return engine.gather(found, shape, dtype, tensors)

    return Leaf(shape, dtype, make, stacked=found[0].index is not None)


def _carried(tensor: LazyTensor) -> Leaf:
    return Leaf(tensor.shape, tensor.dtype, tensor.read)


def _save(folder: Path, leaves: Mapping[tuple[str, ...], Leaf]) -> None:
    tree = nested(leaves)
    registry = ocp.type_handlers.create_type_handler_registry((Leaf, LeafHandler()))
    handler = ocp.PyTreeCheckpointHandler(type_handler_registry=registry, use_zarr3=True, use_compression=False)
    # A stack is cut between its layers first.
    args = jax.tree.map(
        lambda leaf: ocp.SaveArgs(chunk_byte_size=CHUNK_BYTES, shard_axes=(0,) if leaf.stacked else ()), tree
    )
    with silent(), ocp.Checkpointer(handler) as checkpointer:
        checkpointer.save(folder.absolute(), ocp.args.PyTreeSave(tree, save_args=args))


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Without Orbax's log: what fails is raised, and would be told twice, with tracebacks of its threads."""
    log = logging.getLogger("absl")
    log.addFilter(_nothing)
    try:
        yield
    finally:
        log.removeFilter(_nothing)


def _nothing(record: logging.LogRecord) -> bool:
    return False


def nested(leaves: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    """A tree of dictionaries from values by path."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        node = tree
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = leaf
    return tree
