"""Cross-entropy over answers, BCE and DICE over masks (facts 5.3).

Each loss is a pair (sum, weight) of float32 scalars. Sums and weights of micro-batches add up, and `total` divides
once, so that a token or mask counts the same in whichever micro-batch it is. Weights follow from the batch alone
(`weights`), which lets a step know them before its first micro-batch.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
from jax.custom_derivatives import CustomVJPPrimal

from vglamm_jax.data.pack import MASK_IGNORE, Batch
from vglamm_jax.data.prompts import IGNORE
from vglamm_jax.sharding import BATCH, P

Pair = tuple[jax.Array, jax.Array]
Sums = dict[str, Pair]  # "ce", "bce", "dice"
Head = Any  # a tree of arrays
Logits = Callable[[jax.Array, Head], jax.Array]

CHUNK = 2048  # positions of each row whose logits exist at a time
DICE_SCALE, DICE_EPS = 1000.0, 1e-6
COUNT_EPS = 1e-8  # the original's, under `protocol="reference"`


class LossSettings(Protocol):
    """What this module reads of a training config; the original's weights are 1, 2 and 0.5."""

    ce_weight: float
    bce_weight: float
    dice_weight: float
    protocol: Literal["default", "reference"]


def cross_entropy(hidden: jax.Array, labels: jax.Array, head: Head, logits: Logits) -> Pair:
    """Position i predicts the label of position i + 1; labels of -100 do not count.

    Args:
      hidden: [B, L, D], after the final norm.
      labels: int [B, L].
      head: whatever `logits` needs besides, whole along "data" and "fsdp" where a mesh is set.
      logits: [B, l, D] and the head -> float32 [B, l, vocab], e.g. `llm.scores`, where padded rows of the vocabulary
        vanish; of no other arrays.

    Logits of at most `CHUNK` positions of each row exist at a time, forward and backward; a chunk in which no row of a
    device has a label, such as visual rows, costs nothing.
    """
    targets = next_labels(labels)
    sums = functools.partial(_sum_of_rows, logits=logits)
    mesh = jax.sharding.get_abstract_mesh()
    if not mesh.empty and len(hidden) % (mesh.shape["data"] * mesh.shape["fsdp"]) == 0:
        # Each device sums the gradient of the head over its own rows, so that they are added up once, not once a chunk.
        rows = P(BATCH)
        sums = jax.shard_map(
            sums, in_specs=(rows, rows, P()), out_specs=rows, axis_names=set(BATCH), check_vma=False
        )  # fmt: skip
    return sums(hidden, targets, head).sum(), _count(targets != IGNORE)


def _sum_of_rows(hidden: jax.Array, targets: jax.Array, head: Head, *, logits: Logits) -> jax.Array:
    """[1]: the sum over all rows and positions."""
    return _summed(logits, hidden, targets, head)[None]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _summed(logits: Logits, hidden: jax.Array, targets: jax.Array, head: Head) -> jax.Array:
    """A scalar. Its gradients are made on the way forward, where the logits are: they need not be computed again."""

    def chunk_sum(hidden, targets):
        return _negative_log_likelihood(logits(hidden, head), targets)[0]

    def step(total, chunk):
        learnt = (chunk[1] != IGNORE).any()
        return total + jax.lax.cond(learnt, chunk_sum, lambda *_: jnp.float32(0), *chunk), None

    return jax.lax.scan(step, jnp.float32(0), (_in_chunks(hidden, 0), _in_chunks(targets, IGNORE)))[0]


def _summed_forward(logits, hidden, targets, head):
    hidden, targets = hidden.value, targets.value
    learns_head = any(jax.tree.leaves(jax.tree.map(lambda x: x.perturbed, head, is_leaf=_is_primal)))
    head = jax.tree.map(lambda x: x.value, head, is_leaf=_is_primal)

    def learnt(hidden, targets):
        scores, back = jax.vjp(logits, hidden, head) if learns_head else jax.vjp(lambda h: logits(h, head), hidden)
        total, slope = _negative_log_likelihood(scores, targets)
        # An array of its own, or both products would compute it from the logits once for each tile.
        slope = jax.lax.optimization_barrier(slope.astype(hidden.dtype)).astype(scores.dtype)
        return total, back(slope)

    def not_learnt(hidden, targets):
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(learnt, hidden, targets))

    def step(sums, chunk):
        total, (by_hidden, *by_head) = jax.lax.cond((chunk[1] != IGNORE).any(), learnt, not_learnt, *chunk)
        return jax.tree.map(jnp.add, sums, (total, by_head)), by_hidden

    zeros = [jax.tree.map(jnp.zeros_like, head)] if learns_head else []
    chunks = _in_chunks(hidden, 0), _in_chunks(targets, IGNORE)
    (total, by_head), by_hidden = jax.lax.scan(step, (jnp.float32(0), zeros), chunks)
    by_hidden = jnp.moveaxis(by_hidden, 0, 1).reshape(len(hidden), -1, hidden.shape[-1])[:, : hidden.shape[1]]
    return total, (by_hidden, by_head[0] if learns_head else jax.tree.map(jnp.zeros_like, head))


def _summed_backward(logits, gradients, slope):
    by_hidden, by_head = jax.tree.map(lambda x: (x * slope).astype(x.dtype), gradients)
    return by_hidden, None, by_head


_summed.defvjp(_summed_forward, _summed_backward, symbolic_zeros=True)


def _is_primal(x: Any) -> bool:
    return isinstance(x, CustomVJPPrimal)


def _negative_log_likelihood(scores: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The sum over positions that have a target, and its gradient by the scores [..., vocab]."""
    right = jnp.arange(scores.shape[-1]) == targets[..., None]
    total = jax.nn.logsumexp(scores, axis=-1, keepdims=True)
    counts = (targets != IGNORE)[..., None]
    value = jnp.where(counts, total - jnp.where(right, scores, 0).sum(-1, keepdims=True), 0).sum()
    return value, jnp.where(counts, jnp.exp(scores - total) - right, 0)


def next_labels(labels: jax.Array) -> jax.Array:
    """What each position [B, L] predicts: the label after it; nothing at the end."""
    return jnp.pad(labels[:, 1:], ((0, 0), (0, 1)), constant_values=IGNORE)


def _in_chunks(x: jax.Array, fill: int) -> jax.Array:
    """[B, L, ...] -> [chunks, B, l, ...], filled up at the end."""
    chunks = -(-x.shape[1] // CHUNK)
    size = -(-x.shape[1] // chunks)
    widths = ((0, 0), (0, chunks * size - x.shape[1]), *((0, 0),) * (x.ndim - 2))
    x = jnp.pad(x, widths, constant_values=fill)
    return jnp.moveaxis(x.reshape(len(x), chunks, size, *x.shape[2:]), 1, 0)


def bce(logits: jax.Array, target: jax.Array) -> jax.Array:
    """Of each mask, [..., h, w] -> [...]: the mean over all pixels, of which ignored ones (-1) add 0."""
    z, known, t = logits.astype(jnp.float32), target != MASK_IGNORE, target.astype(jnp.float32)
    pixel = jnp.maximum(z, 0) - z * t + jnp.log1p(jnp.exp(-jnp.abs(z)))
    return jnp.where(known, pixel, 0).mean((-2, -1))


def dice(logits: jax.Array, target: jax.Array) -> jax.Array:
    """Of each mask, [..., h, w] -> [...]: 1 - overlap; 0 for a mask that is ignored throughout."""
    known = target != MASK_IGNORE
    p = jnp.where(known, jax.nn.sigmoid(logits.astype(jnp.float32)), 0)
    t = jnp.where(known, target, 0).astype(jnp.float32)
    both = 2 * (p / DICE_SCALE * t).sum((-2, -1))
    either = (p / DICE_SCALE).sum((-2, -1)) + (t / DICE_SCALE).sum((-2, -1))
    return 1 - (both + DICE_EPS) / (either + DICE_EPS)


def mask_losses(logits: jax.Array, target: jax.Array, protocol: str = "default") -> Sums:
    """BCE and DICE of mask logits [B, S, K, h, w] against int8 targets of the same shape.

    The weight is the number of masks that are annotated. The original counts padded slots too, so that a row with one
    object adds a quarter of its loss: `protocol="reference"`.
    """
    weight = mask_weight(target, protocol)
    return {"bce": (bce(logits, target).sum(), weight), "dice": (dice(logits, target).sum(), weight)}


def mask_weight(target: jax.Array, protocol: str = "default") -> jax.Array:
    annotated = (target != MASK_IGNORE).any((-2, -1))
    return _count(jnp.ones_like(annotated) if protocol == "reference" else annotated)


def weights(batch: Batch, cfg: LossSettings) -> dict[str, jax.Array]:
    """The weights that `forward` gives for this batch, without running it."""
    masks = mask_weight(jnp.asarray(batch.masks), cfg.protocol)
    return {"ce": _count(next_labels(jnp.asarray(batch.labels)) != IGNORE), "bce": masks, "dice": masks}


def total(sums: Sums, cfg: LossSettings) -> tuple[jax.Array, dict[str, jax.Array]]:
    """(loss, metrics) of summed pairs; what nothing counts in is 0.

    The metrics have the original's names and are weighted as its are: `loss`, `ce_loss`, `mask_bce_loss`,
    `mask_dice_loss`, `mask_loss`.
    """
    eps = COUNT_EPS if cfg.protocol == "reference" else 0.0
    mean = {
        name: value / jnp.maximum(weight + (eps if name != "ce" else 0), 1) for name, (value, weight) in sums.items()
    }
    ce = cfg.ce_weight * mean["ce"]
    masks = {"mask_bce_loss": cfg.bce_weight * mean["bce"], "mask_dice_loss": cfg.dice_weight * mean["dice"]}
    mask_loss = sum(masks.values())
    return ce + mask_loss, {"loss": ce + mask_loss, "ce_loss": ce, **masks, "mask_loss": mask_loss}


def _count(counted: jax.Array) -> jax.Array:
    return counted.sum(dtype=jnp.float32)
