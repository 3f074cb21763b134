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
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts
from etils import epath

from vglamm_jax.config import to_json
from vglamm_jax.convert import engine, manifest
from vglamm_jax.convert.ahead import ahead
from vglamm_jax.convert.checkpoint import Checkpoint, slots
from vglamm_jax.convert.orbax_store import Store, in_bucket
from vglamm_jax.convert.torch_io import LazyTensor

DESCRIPTION = "vglamm.json"
FORMAT = "vglamm.checkpoint/1"
CHUNK_BYTES = 32 * 2**20  # of one stored piece: a layer of a stack is read without its neighbours


Piece = tuple[Any, Callable[[], np.ndarray]]  # an index of the array, and what makes its values


@dataclass(frozen=True)
class Leaf:
    """A parameter to be written piece by piece: a piece exists only while it is."""

    shape: tuple[int, ...]
    dtype: np.dtype
    pieces: list[Piece]

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
    """Writes leaves as Orbax writes numpy arrays, one after the other; the next piece is made while one is written."""

    def __init__(self):
        super().__init__(deepcopy_host_arrays=False)

    async def serialize(self, values, infos, args=None):
        for value, info, arg in zip(values, infos, args, strict=True):
            for written in await super().serialize([value], [info], [arg]):
                written.result()
        return []

    async def _open_and_write(self, value: Leaf, tspec: dict[str, Any], ts_context: ts.Context) -> None:
        stored = await ts.open(ts.Spec(tspec), create=True, open=True, context=ts_context)
        before = None
        for index, make in value.pieces:
            piece = make()
            if before is not None:
                await before
            before = stored[index].write(piece, can_reference_source_data_indefinitely=True)
        await before


def is_orbax(folder: str | Path) -> bool:
    return (epath.Path(folder) / DESCRIPTION).is_file()


def write(
    checkpoint: Checkpoint,
    folder: Path,
    progress: engine.Progress | None = None,
    arrays: Mapping[str, jax.Array] | None = None,
) -> None:
    """Writes the checkpoint into an existing, empty folder, or one of a bucket; memory holds a few tensors at a time.

    Args:
      arrays: parameters by path as they lie on devices. Every process of the run must call this with the same ones
        and writes its own shards of them; all else is written by the first. Their tensors in `checkpoint` are not
        read: checksums are made from what was written.
    """
    arrays = arrays or {}
    recorder, report = manifest.Recorder(), engine.Report(checkpoint.nbytes, progress)
    tensors = {name: report.watch(recorder.watch(name, t)) for name, t in checkpoint.tensors.items()}
    places: dict[str, list[engine.Slot]] = {}
    for slot in slots(checkpoint):
        places.setdefault(slot.path, []).append(slot)
    # Orbax writes a tree in the order of its keys.
    in_order = sorted(((tuple(path.split("/")), found) for path, found in places.items()), key=operator.itemgetter(0))
    streamed = [slot for path, found in in_order if "/".join(path) not in arrays for slot in found]
    ready = ahead({slot.key: tensors[slot.key] for slot in streamed})
    leaves = {
        path: arrays[name] if (name := "/".join(path)) in arrays else _leaf(found, ready) for path, found in in_order
    }
    _save(folder / "params", leaves, {path: found[0].index is not None for path, found in in_order})
    placed = {slot.key for _, found in in_order for slot in found}
    carried = {(name,): _carried(t) for name, t in tensors.items() if name not in placed}
    if carried:
        _save(folder / "extras", carried)
    if jax.process_index() == 0:
        written = Store(folder / "params")
        for slot in (slot for path in arrays for slot in places[path]):
            read_back = replace(checkpoint.tensors[slot.key], read=functools.partial(written.tensor, slot))
            report.watch(recorder.watch(slot.key, read_back)).read()
        _write_files(checkpoint, folder, recorder.entries)


def _write_files(checkpoint: Checkpoint, folder: Path, entries: Mapping[str, manifest.Entry]) -> None:
    for name, path in checkpoint.files.items():
        target = folder / "files" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        epath.Path(path).copy(target, overwrite=True)
    manifest.write(folder, entries)
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

    def make(slot: engine.Slot) -> np.ndarray:
        return slot.value(tensors[slot.key].read(), dtype)

    pieces = [(... if slot.index is None else slot.index, functools.partial(make, slot)) for slot in found]
    return Leaf(found[0].parameter_shape, dtype, pieces)


def _carried(tensor: LazyTensor) -> Leaf:
    return Leaf(tensor.shape, tensor.dtype, [(..., tensor.read)])


def _save(
    folder: Path,
    leaves: Mapping[tuple[str, ...], Leaf | jax.Array],
    stacked: Mapping[tuple[str, ...], bool] | None = None,
) -> None:
    handlers = ((Leaf, LeafHandler()), (jax.Array, ocp.type_handlers.ArrayHandler()))
    registry = ocp.type_handlers.create_type_handler_registry(*handlers)
    # A stack is cut between its layers first.
    args = {
        path: ocp.SaveArgs(chunk_byte_size=CHUNK_BYTES, shard_axes=(0,) if (stacked or {}).get(path) else ())
        for path in leaves
    }
    with silent():
        handler = ocp.PyTreeCheckpointHandler(type_handler_registry=registry, use_zarr3=True, use_compression=False)
        with ocp.Checkpointer(handler) as checkpointer:
            place = folder if in_bucket(folder) else folder.absolute()
            checkpointer.save(place, ocp.args.PyTreeSave(nested(leaves), save_args=nested(args)))


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
