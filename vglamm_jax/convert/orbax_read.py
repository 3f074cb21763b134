"""Reads the Orbax folders of `orbax_io`: as a `Checkpoint`, tensor by tensor, or as arrays on a mesh."""

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from vglamm_jax.config import VideoGlammConfig, from_json
from vglamm_jax.convert import engine, manifest
from vglamm_jax.convert.checkpoint import Checkpoint, Sizes, slots
from vglamm_jax.convert.orbax_io import DESCRIPTION, FORMAT, nested, silent
from vglamm_jax.convert.orbax_store import Store, damaged, place
from vglamm_jax.convert.torch_io import CheckpointError, LazyTensor
from vglamm_jax.models import layers
from vglamm_jax.models.videoglamm import VideoGlamm


def describe(folder: str | Path) -> dict[str, Any]:
    """What `vglamm.json` says.

    Raises:
      CheckpointError: no such file (an unfinished or another kind of folder), or one of another version.
    """
    path = epath.Path(folder) / DESCRIPTION
    try:
        content = json.loads(path.read_text())
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}, this version reads {FORMAT!r}")
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder}: holds no {DESCRIPTION}, so it is no finished Orbax checkpoint; run `vglamm convert` again"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not readable ({error}); run `vglamm convert` again") from error
    return content


def read(folder: Path) -> Checkpoint:
    """The folder as canonical tensors; each is read from the slice of a parameter that it became."""
    said, entries = describe(folder), manifest.read(folder)
    if entries is None:
        raise CheckpointError(f"{folder}: its {manifest.MANIFEST} is missing; run `vglamm convert` again")
    promised = {name: _unread(name, entries, folder) for name in said["tensors"]}
    files = folder / "files"
    found = Checkpoint(
        where=str(folder),
        tensors=promised,
        sizes=from_json(Sizes, said["sizes"]),
        model=from_json(VideoGlammConfig, said["model"]) if said["model"] else None,
        layouts=said["layouts"],
        files={str(p.relative_to(files)): p for p in sorted(files.rglob("*")) if p.is_file()},
    )
    places = {slot.key: slot for slot in slots(found)}
    params, extras = Store(folder / "params"), Store(folder / "extras")
    for name, tensor in promised.items():
        slot = places.get(name)
        source = functools.partial(params.tensor, slot) if slot else functools.partial(extras.read, name)
        promised[name] = LazyTensor(tensor.shape, tensor.dtype, _as(tensor.dtype, source), folder)
    return found


def _unread(name: str, entries: Mapping[str, manifest.Entry], folder: Path) -> LazyTensor:
    if name not in entries:
        raise CheckpointError(f"{folder}: {name} is not in its {manifest.MANIFEST}; run `vglamm convert` again")
    entry = entries[name]
    return LazyTensor(entry.shape, jnp.dtype(entry.dtype), lambda: None, folder)


def _as(dtype: np.dtype, read: Callable[[], np.ndarray]) -> Callable[[], np.ndarray]:
    """A tensor in its own type: the stack it was kept in may have a wider one."""
    return lambda: read().astype(dtype, copy=False)


def restore(
    folder: str | Path,
    config: VideoGlammConfig | None = None,
    *,
    dtype: Any = "float32",
    shardings: Any = None,
) -> tuple[VideoGlamm, VideoGlammConfig]:
    """The whole model from an Orbax folder, every array in its place: a device reads its own shards only.

    Args:
      folder: a local path, or one that Orbax reads (`gs://...`).
      config: overrides the one in the folder; sizes must agree.
      dtype: of every parameter.
      shardings: a tree like the model (`sharding.shardings(...)`); None puts everything on the first device.

    Raises:
      CheckpointError: the folder holds only parts, other sizes, or is damaged.
    """
    said = describe(folder)
    if said["model"] is None:
        parts = ", ".join(name for name, value in said["sizes"].items() if value)
        raise CheckpointError(
            f"{folder}: holds only parts of a model ({parts or 'adapters'}); it can be no --checkpoint"
        )
    cfg = config or from_json(VideoGlammConfig, said["model"])
    module = layers.abstract(VideoGlamm, cfg)
    wanted = engine.leaves(module)
    targets = engine.leaves(shardings) if shardings is not None else {}
    first = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    shapes = {path: jax.ShapeDtypeStruct(x.shape, jnp.dtype(dtype)) for path, x in wanted.items()}
    arrays = restore_arrays(place(folder) / "params", shapes, {path: targets.get(path, first) for path in wanted})
    return jax.tree.unflatten(jax.tree.structure(module), [arrays[path] for path in wanted]), cfg


def stored(folder: str | Path) -> dict[str, tuple[int, ...]]:
    """Shapes by name of the parameters in an Orbax folder.

    Raises:
      CheckpointError: it is none, or damaged.
    """
    describe(folder)
    with silent(), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        return _stored_shapes(checkpointer, place(folder) / "params")


def restore_arrays(
    folder: epath.Path, shapes: Mapping[str, jax.ShapeDtypeStruct], places: Mapping[str, jax.sharding.Sharding]
) -> dict[str, jax.Array]:
    """Parameters by path from an Orbax tree, which may hold more than is asked for."""
    with silent(), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        stored = _stored_shapes(checkpointer, folder)
        _same(folder, shapes, stored)
        keys = {path: tuple(path.split("/")) for path in shapes}
        item = nested({key: shapes[path] for path, key in keys.items()})
        args = nested(
            {key: ocp.ArrayRestoreArgs(sharding=places[path], dtype=shapes[path].dtype) for path, key in keys.items()}
        )
        try:
            tree = checkpointer.restore(
                folder, ocp.args.PyTreeRestore(item=item, restore_args=args, partial_restore=True)
            )
        except Exception as error:  # Orbax raises bare ones
            raise damaged(folder, "a parameter", error) from error
    return {path: functools.reduce(lambda node, part: node[part], key, tree) for path, key in keys.items()}


def _stored_shapes(checkpointer: ocp.Checkpointer, folder: epath.Path) -> dict[str, tuple[int, ...]]:
    try:
        tree = checkpointer.metadata(folder).item_metadata.tree
    except Exception as error:  # Orbax raises bare ones
        raise damaged(folder, "its metadata", error) from error
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {"/".join(str(key.key) for key in path): tuple(leaf.shape) for path, leaf in leaves}


def _same(folder: epath.Path, wanted: Mapping[str, Any], stored: Mapping[str, tuple[int, ...]]) -> None:
    """One error with every parameter that is missing or of another shape."""
    missing = [path for path in wanted if path not in stored]
    close = engine.nearest(missing, [path for path in stored if path not in wanted])
    problems = [f"{close.get(path, path)} is missing" for path in missing]
    problems += [
        f"{path} is {list(stored[path])}, this model wants {list(x.shape)}"
        for path, x in wanted.items()
        if path in stored and stored[path] != tuple(x.shape)
    ]
    if problems:
        raise CheckpointError(f"{folder}: does not fit this model: {manifest.listed(problems)}; give its own --config")
