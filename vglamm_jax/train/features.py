"""What the frozen encoders say, kept on disk, so that each picture is looked at once (`--cache-features DIR`).

A frame or clip that was seen before, in whatever row, is read instead of encoded; what is read is, bit for bit, what
the encoder would say (`feature_files`). Each process looks up its own rows. A batch of which anything is missing
anywhere is encoded as a whole, by a program of its own, and what was missing is stored.

It pays where pictures come again: few clips, several epochs, no augmentation; `cache/hit_rate` tells. Features of all
rows of a step are on the devices at once, `row_bytes` for each.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vglamm_jax.config import to_json
from vglamm_jax.convert.engine import leaves
from vglamm_jax.data.pack import Batch
from vglamm_jax.models import layers
from vglamm_jax.models.videoglamm import VideoGlamm
from vglamm_jax.sharding import BATCH, gathered
from vglamm_jax.train.config import TrainConfig
from vglamm_jax.train.feature_files import Damaged, Entries, origin
from vglamm_jax.train.forward import LAYER_BY_LAYER, Encoded, encode
from vglamm_jax.train.metrics import say
from vglamm_jax.train.state import State, compute_dtype, rows_here
from vglamm_jax.train.step import micro_batches

# What of a batch an encoder looks at, and the weights it looks with.
PIXELS = {"clip": "context", "internvideo2": "clips", "sam2": "sam"}
WEIGHTS = {
    "clip": r"^clip/",
    "internvideo2": r"^internvideo2/",
    "sam2": r"^sam2/(image_encoder/|sam_mask_decoder/conv_s[01]/)",
}
IN_STEP = ("clip", "internvideo2", "image_encoder")  # parts of `flops.of_step` that a step then leaves out
THREADS = 8


class Features:
    """The encoders of a run, through a folder."""

    def __init__(self, cfg: TrainConfig, state: State, mesh: Mesh):
        """Raises ValueError where an encoder trains: its features change with every step."""
        check(state.train)
        if cfg.data.augment is not None:
            say("features: data.augment changes every frame each time it is drawn; what is kept will not be found")
        self.cfg, self.place = cfg, NamedSharding(mesh, PartitionSpec(BATCH))
        self.encode = _encoder(cfg, self.place)
        self.shapes = {name: x for name, x in vars(row_shapes(cfg)).items() if x is not None}
        rows = cfg.batch_size // (cfg.accumulate * mesh.shape["data"] * mesh.shape["fsdp"])
        run = origin() | {"dtype": compute_dtype(cfg).name, "rows": rows, "tensor": mesh.shape["tensor"]}
        self.entries = {
            name: Entries(
                cfg.features,
                name,
                run | {"sizes": to_json(getattr(cfg.model, name)), "weights": _checksum(name, state.frozen, mesh)},
                [jax.ShapeDtypeStruct(x.shape[2:], x.dtype) for x in jax.tree.leaves(shapes)],
            )
            for name, shapes in self.shapes.items()
        }
        self.threads = ThreadPoolExecutor(THREADS)
        self.asked = self.found = self.damaged = 0

    def __call__(self, frozen: Any, local: Batch) -> Encoded:
        """What the encoders say of the rows of all processes, as global arrays; `local` holds those of this one.

        `frozen` is that of the state as it is now: a step gives up the arrays of the one before.
        """
        paths = {name: self._paths(name, local) for name in self.entries}
        known = {name: self._known(name, set(wanted)) for name, wanted in paths.items()}
        lost = {name: [path for path, found in units.items() if found is None] for name, units in known.items()}
        asked, missing = (sum(map(len, one.values())) for one in (known, lost))
        self.asked, self.found = self.asked + asked, self.found + asked - missing
        if not _anywhere(missing > 0):
            return Encoded(
                **dict.fromkeys(PIXELS) | {name: self._stacked(name, paths[name], known[name]) for name in known}
            )
        seen = Batch(
            **dict.fromkeys(Batch._fields) | {field: self._put(getattr(local, field)) for field in PIXELS.values()}
        )
        encoded = self.encode(frozen, seen)
        for name, units in lost.items():
            self._store(name, getattr(encoded, name), paths[name], units)
        return encoded

    def take(self) -> dict[str, float]:
        """The share of frames and clips found since the last time, and how many entries were damaged so far.

        No share where none was looked for: the loop draws a batch before it reports the step before.
        """
        rate = {"cache/hit_rate": self.found / self.asked} if self.asked else {}
        values = rate | {"cache/damaged": float(self.damaged)}
        self.asked = self.found = 0
        return values

    def summary(self) -> str:
        """`clip 16 entries, 0.012 GB; ...`."""
        sizes = {name: entries.size() for name, entries in self.entries.items()}
        return "; ".join(f"{name} {count:,} entries, {size / 1e9:.3f} GB" for name, (count, size) in sizes.items())

    def close(self) -> None:
        self.threads.shutdown()

    def _paths(self, name: str, local: Batch) -> list[Path]:
        """A path for each frame or clip of these rows, in order."""
        pixels = getattr(local, PIXELS[name])
        units = pixels.shape[0] * jax.tree.leaves(self.shapes[name])[0].shape[1]
        return list(self.threads.map(self.entries[name].path, pixels.reshape(units, -1, *pixels.shape[2:])))

    def _known(self, name: str, paths: set[Path]) -> dict[Path, list[np.ndarray] | None]:
        return dict(zip(paths, self.threads.map(partial(self._read, self.entries[name]), paths)))

    def _read(self, entries: Entries, path: Path) -> list[np.ndarray] | None:
        try:
            return entries.read(path)
        except Damaged as error:
            self.damaged += 1
            say(f"{error}; it is made again")
            return None

    def _store(self, name: str, features: Any, paths: list[Path], missing: list[Path]) -> None:
        if missing:
            units = [rows_here(x) for x in jax.tree.leaves(features)]
            units = [x.reshape(-1, *x.shape[2:]) for x in units]
            at = {path: number for number, path in enumerate(paths)}
            list(self.threads.map(lambda p: self.entries[name].write(p, [x[at[p]] for x in units]), missing))

    def _stacked(self, name: str, paths: list[Path], known: dict[Path, list[np.ndarray]]) -> Any:
        shapes, tree = jax.tree.flatten(self.shapes[name])
        columns = zip(*(known[path] for path in paths))
        return tree.unflatten(
            self._put(np.stack(column).reshape(-1, *shape.shape[1:])) for column, shape in zip(columns, shapes)
        )

    def _put(self, rows: np.ndarray) -> jax.Array:
        return jax.make_array_from_process_local_data(self.place, rows, (self.cfg.batch_size, *rows.shape[1:]))


def without_pixels(batch: Batch) -> Batch:
    """What a step needs besides what the encoders say."""
    return batch._replace(**dict.fromkeys(PIXELS.values()))


def check(train: Any) -> None:
    """Raises ValueError where something of an encoder is among what trains."""
    moving = [path for path in leaves(train) if any(re.search(pattern, path) for pattern in WEIGHTS.values())]
    if moving:
        raise ValueError(
            f"features: {moving[0]} trains, so what is kept is wrong after a step; leave --cache-features out"
        )


def row_shapes(cfg: TrainConfig) -> Encoded:
    """Shapes of what the encoders say of one row, [1, frames or clips, ...]."""
    model, frames = cfg.model, cfg.data.pack.frames
    seen = {
        "clip": model.frames * (model.encoders != "video"),
        "internvideo2": model.frames * (model.encoders != "image"),
    }
    pixels = {
        PIXELS[name]: (1, seen.get(name, frames), getattr(model, name).image_size, getattr(model, name).image_size, 3)
        for name in PIXELS
    }
    dtype = compute_dtype(cfg)
    tree = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, dtype), layers.abstract(VideoGlamm, model))
    fields = dict.fromkeys(Batch._fields)
    arrays = {field: jax.ShapeDtypeStruct(shape, jnp.uint8) for field, shape in pixels.items()}
    return jax.eval_shape(encode, tree, Batch(**fields | arrays))


def row_bytes(cfg: TrainConfig) -> int:
    """Of the features of a row none of whose frames come twice."""
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(row_shapes(cfg)))


def _encoder(cfg: TrainConfig, place: NamedSharding) -> Callable[[Any, Batch], Encoded]:
    """What the step does with its pixels, micro-batch by micro-batch, as a program of its own."""

    @partial(jax.jit, out_shardings=place)
    def run(frozen: Any, batch: Batch) -> Encoded:
        frozen = gathered(frozen, but=LAYER_BY_LAYER)
        if cfg.accumulate == 1:
            return encode(frozen, batch)
        micro = jax.tree.map(lambda x: micro_batches(x, cfg.accumulate), batch)
        encoded = jax.lax.map(lambda one: encode(frozen, one), micro)
        return jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(-1, *x.shape[2:]), encoded)

    return run


def _checksum(name: str, frozen: Any, mesh: Mesh) -> str:
    """Of an encoder's weights as they are held, wherever they are: no process needs to see more than its own."""
    total = jax.jit(_sums, out_shardings=NamedSharding(mesh, PartitionSpec()))
    found = {path: total(x) for path, x in leaves(frozen).items() if re.search(WEIGHTS[name], path)}
    said = {path: [*map(int, np.asarray(sums))] for path, sums in found.items()}
    return hashlib.blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=16).hexdigest()


def _sums(x: jax.Array) -> jax.Array:
    """uint32 [2]: sums of a hash of every value's bits and place. Whole numbers add up alike in any order."""
    bits = jax.lax.bitcast_convert_type(x, jnp.dtype(f"uint{8 * x.dtype.itemsize}")).astype(jnp.uint32)
    at, stride = jnp.zeros(x.shape, jnp.uint32), 1
    for axis in reversed(range(x.ndim)):
        at += jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis) * jnp.uint32(stride % 2**32)
        stride *= x.shape[axis]

    def mixed(seed: int) -> jax.Array:
        h = bits * jnp.uint32(0xCC9E2D51) + at * jnp.uint32(0x9E3779B9) + jnp.uint32(seed)
        for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):  # the finaliser of MurmurHash3
            h = (h ^ (h >> shift)) * jnp.uint32(factor)
        return (h ^ (h >> 16)).sum(dtype=jnp.uint32)

    return jnp.stack([mixed(0), mixed(0x51ED270B)])


def _anywhere(here: bool) -> bool:
    """Whether it is so in any process."""
    return here if jax.process_count() == 1 else bool(multihost_utils.process_allgather(np.bool_(here)).any())
