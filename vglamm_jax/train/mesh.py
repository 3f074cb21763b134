"""The mesh of a run: devices along ("data", "fsdp", "tensor"), slices of a pod apart along "data"."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from vglamm_jax.sharding import AXES
from vglamm_jax.train.config import MeshConfig, TrainConfig

MOST_PARTS = 128  # of a matrix: parts of 3072 rows, the width of Phi-3, have 24 then, whole tiles of 8


def make_mesh(cfg: MeshConfig, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh over all devices, near ones beside each other.

    Raises:
      ValueError: the sizes do not make up the devices there are, or "data" does not divide over the slices.
    """
    devices = list(jax.devices() if devices is None else devices)
    shape = filled((cfg.data, cfg.fsdp, cfg.tensor), len(devices), cfg.slices)
    if cfg.slices == 1:
        if devices[0].platform == "cpu":
            grid = np.array(devices).reshape(shape)
        else:
            grid = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    else:
        if cfg.slices < 1 or shape[0] % cfg.slices:
            raise ValueError(f"mesh.data={shape[0]} must be a multiple of mesh.slices={cfg.slices}")
        inside = (shape[0] // cfg.slices, *shape[1:])
        try:
            grid = mesh_utils.create_hybrid_device_mesh(
                inside, (cfg.slices, 1, 1), devices, allow_split_physical_axes=True
            )
        except ValueError as error:
            raise ValueError(f"mesh.slices={cfg.slices} is not how these devices lie: {error}") from error
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * 3)


def filled(shape: tuple[int, ...], count: int, slices: int) -> tuple[int, ...]:
    """The sizes (data, fsdp, tensor) with -1 replaced, see `MeshConfig`, for so many devices in slices.

    Raises:
      ValueError: they do not make up the devices.
    """
    said = " x ".join(f"{axis}={size}" for axis, size in zip(AXES, shape))
    data, fsdp, tensor = shape
    if data == fsdp == -1 and tensor > 0 and slices > 0:
        fsdp = math.gcd(count // tensor // slices, MOST_PARTS)
        shape = data, fsdp, tensor
    known = math.prod(size for size in shape if size != -1)
    if shape.count(-1) > 1 or any(size < 1 and size != -1 for size in shape):
        raise ValueError(f"mesh {said}: sizes are 1 or more, and one of them may be -1, the rest (or data and fsdp)")
    whole = count // known if -1 in shape else 1
    if known * whole != count:
        raise ValueError(f"mesh {said} does not make up the {count} devices there are")
    return tuple(whole if size == -1 else size for size in shape)


def check_batch(cfg: TrainConfig, mesh: Mesh) -> None:
    """Raises ValueError where rows cannot be dealt evenly to micro-batches and devices."""
    shards = mesh.shape["data"] * mesh.shape["fsdp"]
    if cfg.accumulate < 1 or cfg.batch_size < 1 or cfg.batch_size % (cfg.accumulate * shards):
        raise ValueError(
            f"batch_size={cfg.batch_size} must be a multiple of accumulate={cfg.accumulate} times the "
            f"{shards} devices along data and fsdp"
        )
    size = cfg.evaluation.batch_size
    if cfg.evaluation.every and size is not None and size % shards:
        raise ValueError(f"evaluation.batch_size={size} must be a multiple of the {shards} devices along data and fsdp")
