"""The training step of a config, compiled for chips that are not here: shapes go in, no array exists."""

import dataclasses

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vglamm_jax.aot.topology import topology_devices
from vglamm_jax.data.pack import Batch
from vglamm_jax.models import layers
from vglamm_jax.models.videoglamm import VideoGlamm
from vglamm_jax.sharding import BATCH, path_name
from vglamm_jax.train import flops, trainable
from vglamm_jax.train import state as states
from vglamm_jax.train.config import TrainConfig
from vglamm_jax.train.mesh import check_batch, make_mesh
from vglamm_jax.train.optimizer import optimizer
from vglamm_jax.train.step import make_step


def abstract_batch(cfg: TrainConfig, mesh: Mesh) -> Batch:
    """A batch of `data.pack` at its longest length, `draw` left out: rows along "data" and "fsdp"."""
    model, sizes, place = cfg.model, cfg.data.pack, NamedSharding(mesh, PartitionSpec(BATCH))

    def rows(dtype, *shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((cfg.batch_size, *shape), dtype, sharding=place)

    def frames(count: int, side: int) -> jax.ShapeDtypeStruct:
        return rows(jnp.uint8, count, side, side, 3)

    length, side = sizes.lengths[-1], sizes.mask_size
    return Batch(
        ids=rows(jnp.int32, length),
        visual=rows(jnp.int32, length),
        labels=rows(jnp.int32, length),
        lengths=rows(jnp.int32),
        seg_positions=rows(jnp.int32, sizes.slots),
        seg_valid=rows(jnp.bool_, sizes.slots),
        masks=rows(jnp.int8, sizes.slots, sizes.frames, side, side),
        context=frames(model.frames if model.encoders != "video" else 0, model.clip.image_size),
        clips=frames(model.frames if model.encoders != "image" else 0, model.internvideo2.image_size),
        sam=frames(sizes.frames, model.sam2.image_size),
        is_video=rows(jnp.bool_),
        draw=None,
    )


def topology_mesh(cfg: TrainConfig, topology: str) -> Mesh:
    """The mesh of this config over the chips of e.g. `v5e:16x16`, of `cfg.mesh.slices` such slices.

    Raises:
      ValueError: libtpu does not know the topology, or the mesh does not make up its chips.
      ModuleNotFoundError: no libtpu.
    """
    return make_mesh(cfg.mesh, topology_devices(topology, cfg.mesh.slices))


def lowered(cfg: TrainConfig, mesh: Mesh) -> jax.stages.Lowered:
    """The step that `vglamm train` runs, in bfloat16 unless the config says otherwise, lowered for a mesh.

    Raises:
      ValueError: rows that cannot be dealt evenly to micro-batches and devices.
    """
    cfg = dataclasses.replace(cfg, compute=cfg.compute or "bfloat16")
    check_batch(cfg, mesh)
    tx = optimizer(cfg.optimizer, cfg.steps, cfg.protocol)
    state = states.abstract(layers.abstract(VideoGlamm, cfg.model), cfg, tx, mesh)
    with jax.set_mesh(mesh):
        return make_step(cfg, tx, state).lower(state, abstract_batch(cfg, mesh))


def model_flops(cfg: TrainConfig) -> dict[str, float]:
    """Of a step at the longest length, by part of the model: see `train.flops`."""
    learnt, _ = trainable.split(layers.abstract(VideoGlamm, cfg.model), cfg)
    paths = [path_name(path) for path, _ in jax.tree_util.tree_flatten_with_path(learnt)[0]]
    return flops.of_step(cfg, cfg.data.pack.lengths[-1], paths)
