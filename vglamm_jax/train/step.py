"""The training step: losses of every micro-batch, one gradient, one update. One jit entry; the state is donated."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding

from vglamm_jax.data.pack import Batch
from vglamm_jax.sharding import BATCH, path_name, shard, spec_for
from vglamm_jax.train import losses, trainable
from vglamm_jax.train.config import TrainConfig
from vglamm_jax.train.forward import Encoded, forward
from vglamm_jax.train.optimizer import schedule
from vglamm_jax.train.state import State, compute_dtype

Metrics = dict[str, jax.Array]
Step = Callable[..., tuple[State, Metrics]]  # of state, batch, and what the encoders say of it where that is known


def make_step(cfg: TrainConfig, tx: optax.GradientTransformation, state: State) -> Step:
    """The step of this config; the batch is that of `data.pack`, with `draw` left out (None).

    `state` may hold arrays or shapes: where they are is where the next state will be, so that one program does for
    all steps.

    Its metrics are float32 scalars: the losses by the original's names, `grad_norm` before clipping,
    `learning_rate`, `tokens` that are no padding, and `finite`: 0 where a loss or gradient was not, in which case the
    state comes back as it was.
    """
    rate = schedule(cfg.optimizer, cfg.steps, cfg.protocol)

    places = jax.tree.map(lambda x: x.sharding, state)

    @partial(jax.jit, donate_argnums=0, out_shardings=(places, places.step))
    def step(state: State, batch: Batch, encoded: Encoded | None = None) -> tuple[State, Metrics]:
        # The one generator that gives each row the same whatever is beside it and wherever it is.
        key = jax.random.fold_in(jax.random.key(cfg.seed, impl="threefry2x32"), state.step)
        grads, metrics = gradients(state.train, state.frozen, batch, cfg, key, encoded)
        norm = optax.global_norm(grads)
        updates, opt = tx.update(grads, state.opt, state.train)
        train = optax.apply_updates(state.train, updates)
        new = State(state.step + 1, train, state.frozen, opt, _averaged(state.ema, train, state.step, cfg))
        finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(norm)
        metrics |= {"grad_norm": norm, "learning_rate": rate(state.step), "finite": finite.astype(jnp.float32)}
        return _where(finite, new, state), metrics | {"tokens": batch.lengths.sum().astype(jnp.float32)}

    return step


def gradients(
    train: Any, frozen: Any, batch: Batch, cfg: TrainConfig, key: jax.Array, encoded: Encoded | None = None
) -> tuple[Any, Metrics]:
    """Gradient of the loss in `train`, and the losses, over all micro-batches of a batch.

    How many tokens and masks there are is known before the first one, so that each counts the same in whichever
    micro-batch it is: four micro-batches give what one of four times the rows gives. What dropout drops of a row
    depends on `key` and the row's number alone, so that the same holds with it, on every mesh. With `encoded`, a row
    for each of the batch, the encoders are not run and the pixels of the batch may be None.
    """
    weights = losses.weights(batch, cfg)
    rows = jnp.arange(len(batch.ids))
    if cfg.accumulate == 1:
        return _of_one(train, frozen, batch, encoded, cfg, _row_keys(key, rows), weights)
    micro = jax.tree.map(lambda x: micro_batches(x, cfg.accumulate), (batch, encoded, rows))

    def of_one(one):
        batch, encoded, rows = one
        return _of_one(train, frozen, batch, encoded, cfg, _row_keys(key, rows), weights)

    def add(total, one):
        grads, metrics = of_one(one)
        return jax.tree.map(jnp.add, total, (_placed(grads), metrics)), None

    shapes = jax.eval_shape(of_one, _first(micro))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return jax.lax.scan(add, (_placed(zeros[0]), zeros[1]), micro)[0]


def _row_keys(key: jax.Array, rows: jax.Array) -> jax.Array:
    return jax.vmap(jax.random.fold_in, (None, 0))(key, rows)


def _of_one(
    train,
    frozen,
    batch: Batch,
    encoded: Encoded | None,
    cfg: TrainConfig,
    keys: jax.Array,
    weights: dict[str, jax.Array],
):
    """A micro-batch's share of gradient and losses; all shares add up to those of the batch."""

    def loss(train):
        model = trainable.join(_as(train, compute_dtype(cfg)), frozen)
        sums, _ = forward(model, batch, cfg, keys if _has_dropout(cfg) else None, encoded=encoded)
        return losses.total({name: (value, weights[name]) for name, (value, _) in sums.items()}, cfg)

    (_, metrics), grads = jax.value_and_grad(loss, has_aux=True)(train)
    return grads, metrics


def _has_dropout(cfg: TrainConfig) -> bool:
    return cfg.model.llm.lora is not None and cfg.model.llm.lora.dropout > 0


def _as(tree: Any, dtype: jnp.dtype) -> Any:
    return jax.tree.map(lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def micro_batches(x: jax.Array, count: int) -> jax.Array:
    """[B, ...] -> [count, B / count, ...]; row i goes to micro-batch i % count, which moves nothing between devices."""
    return shard(x.reshape(-1, count, *x.shape[1:]).swapaxes(0, 1), None, BATCH)


def _first(tree: Any) -> Any:
    return jax.tree.map(lambda x: x[0], tree)


def _placed(tree: Any) -> Any:
    """Gradients live where their parameters do, also while they add up."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return tree

    def place(path, x):
        return jax.lax.with_sharding_constraint(x, spec_for(path_name(path), x.shape, mesh))

    return jax.tree_util.tree_map_with_path(place, tree)


def _averaged(ema: Any, train: Any, step: jax.Array, cfg: TrainConfig) -> Any:
    """The running average; it forgets the start faster at first, so that it is never far behind."""
    if ema is None:
        return None
    decay = jnp.minimum(cfg.optimizer.ema, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, ema, train)


def _where(condition: jax.Array, new: State, old: State) -> State:
    chosen = jax.tree.map(
        lambda a, b: jnp.where(condition, a, b),
        (new.step, new.train, new.opt, new.ema),
        (old.step, old.train, old.opt, old.ema),
    )
    step, train, opt, ema = chosen
    return State(step, train, old.frozen, opt, ema)


def make_masks(cfg: TrainConfig, rows: NamedSharding) -> Callable[[State, Batch], jax.Array]:
    """(state, batch) -> float32 mask logits [B, S, K, h, w], with the averaged weights if there are some.

    `rows`: where the rows of a batch are; those of its masks stay there.
    """

    @partial(jax.jit, out_shardings=rows)
    def masks(state: State, batch: Batch) -> jax.Array:
        train = state.train if state.ema is None else state.ema
        return forward(trainable.join(_as(train, compute_dtype(cfg)), state.frozen), batch, cfg)[1]["mask_logits"]

    return masks
