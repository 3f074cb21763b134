"""What a training step changes and what it leaves alone, and how both come to be, every array in its place.

Gradients, moments and float32 masters exist only for `train`; `frozen` is held in the dtype that is computed in. All
placing follows `sharding.RULES`, and no process ever holds more of a tree than its own shards and one array.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vglamm_jax.models.videoglamm import VideoGlamm
from vglamm_jax.sharding import path_name, shardings
from vglamm_jax.train import trainable
from vglamm_jax.train.config import TrainConfig


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """A value: a step takes one and returns the next."""

    step: jax.Array  # int32 [], updates done
    train: Any  # what is learnt, float32
    frozen: Any  # the rest of the model
    opt: optax.OptState
    ema: Any = None  # a running average of `train`, if asked for


def compute_dtype(cfg: TrainConfig) -> jnp.dtype:
    """bfloat16, but float32 on a CPU, where bfloat16 is slow."""
    return jnp.dtype(cfg.compute or ("float32" if jax.default_backend() == "cpu" else "bfloat16"))


def create(model: VideoGlamm, cfg: TrainConfig, tx: optax.GradientTransformation, mesh: Mesh) -> State:
    """The state before the first step. `model` has its starting weights, in place, and is used up."""
    train, frozen = trainable.split(model, cfg)
    train = _cast(train, jnp.dtype("float32"), mesh)
    frozen = _cast(frozen, compute_dtype(cfg), mesh)
    opt_places = shardings(jax.eval_shape(tx.init, train), mesh)
    ema = None
    if cfg.optimizer.ema is not None:
        ema = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree), out_shardings=shardings(train, mesh))(train)
    return State(
        step=placed(np.int32(0), NamedSharding(mesh, PartitionSpec())),
        train=train,
        frozen=frozen,
        opt=jax.jit(tx.init, out_shardings=opt_places)(train),
        ema=ema,
    )


def abstract(model: VideoGlamm, cfg: TrainConfig, tx: optax.GradientTransformation, mesh: Mesh) -> State:
    """The same as shapes with places, from a model of shapes: for restoring, and for compiling without weights."""
    train, frozen = trainable.split(model, cfg)
    train, frozen = _as(train, jnp.dtype("float32")), _as(frozen, compute_dtype(cfg))
    ema = train if cfg.optimizer.ema is not None else None
    shapes = State(jax.ShapeDtypeStruct((), jnp.int32), train, frozen, jax.eval_shape(tx.init, train), ema)
    return jax.tree.map(
        lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), shapes, shardings(shapes, mesh)
    )


def model_of(state: State, *, averaged: bool = True) -> VideoGlamm:
    """The model as it is now; with the averaged weights, where there are some."""
    return trainable.join(state.ema if averaged and state.ema is not None else state.train, state.frozen)


def placed(value: np.ndarray | jax.Array, place: jax.sharding.Sharding) -> jax.Array:
    """A value that every process has, as a global array."""
    host = np.asarray(value)
    return jax.make_array_from_callback(host.shape, place, lambda index: host[index])


def rows_here(x: jax.Array) -> np.ndarray:
    """This process's rows of an array whose first axis is spread over devices, in order."""
    shards = {shard.index[0].start or 0: shard.data for shard in x.addressable_shards}
    return np.concatenate([np.asarray(shards[start]) for start in sorted(shards)])


def placed_tree(tree: Any, mesh: Mesh) -> Any:
    """A tree whose arrays not yet on the mesh, which every process has alike, are put there by `RULES`."""

    def put(x: jax.Array, place: NamedSharding) -> jax.Array:
        return x if getattr(x.sharding, "mesh", None) == mesh else placed(x, place)

    return jax.tree.map(put, tree, shardings(tree, mesh))


def named(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by name, `llm.blocks.mlp.down_proj.kernel`: how checkpoints hold them."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {path_name(path).replace("/", "."): leaf for path, leaf in leaves}


def renamed(tree: Any, values: dict[str, Any]) -> Any:
    """A tree like `tree` with the leaves that `named` would call so."""
    return jax.tree.unflatten(jax.tree.structure(tree), [values[name] for name in named(tree)])


def _as(tree: Any, dtype: jnp.dtype) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, _dtype(x, dtype)), tree)


def _dtype(x: Any, dtype: jnp.dtype) -> jnp.dtype:
    return dtype if jnp.issubdtype(x.dtype, jnp.floating) else x.dtype


def _cast(tree: Any, dtype: jnp.dtype, mesh: Mesh) -> Any:
    """Floating arrays as `dtype`; what was there before is given up, array by array."""

    def cast(x: jax.Array, place: NamedSharding) -> jax.Array:
        return x if x.dtype == _dtype(x, dtype) else _caster(dtype, place)(x)

    return jax.tree.map(cast, tree, shardings(tree, mesh))


@functools.cache  # or arrays of the same shape would be compiled for one by one
def _caster(dtype: jnp.dtype, place: NamedSharding) -> Callable[[jax.Array], jax.Array]:
    return jax.jit(lambda x: x.astype(dtype), out_shardings=place, donate_argnums=0)
