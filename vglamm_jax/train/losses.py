"""Cross-entropy over answers, BCE and DICE over masks (facts 5.3).

Each loss is a pair (sum, weight) of float32 scalars. Sums and weights of micro-batches add up, and `total` divides
once, so that a token or mask counts the same in whichever micro-batch it is. Weights follow from the batch alone
(`weights`), which lets a step know them before its first micro-batch.
"""

import functools
from collections.abc import Callable
from typing import Literal, Protocol

import jax
import jax.numpy as jnp

from vglamm_jax.data.pack import MASK_IGNORE, Batch
from vglamm_jax.data.prompts import IGNORE

Pair = tuple[jax.Array, jax.Array]
Sums = dict[str, Pair]  # "ce", "bce", "dice"

CHUNK = 2048  # positions of each row whose logits exist at a time
DICE_SCALE, DICE_EPS = 1000.0, 1e-6
COUNT_EPS = 1e-8  # the original's, under `protocol="reference"`


class LossSettings(Protocol):
    """What this module reads of a training config; the original's weights are 1, 2 and 0.5."""

    ce_weight: float
    bce_weight: float
    dice_weight: float
    protocol: Literal["default", "reference"]


def cross_entropy(hidden: jax.Array, labels: jax.Array, logits: Callable[[jax.Array], jax.Array]) -> Pair:
    """Position i predicts the label of position i + 1; labels of -100 do not count.

    Args:
      hidden: [B, L, D], after the final norm.
      labels: int [B, L].
      logits: [B, l, D] -> float32 [B, l, vocab], e.g. `CausalLM.logits`, where padded rows of the vocabulary vanish.

    Logits of at most `CHUNK` positions of each row exist at a time, forward and backward; a chunk in which no row has
    a label, such as visual rows, costs nothing.
    """
    targets = next_labels(labels)
    hidden, chunks = _in_chunks(hidden, 0), _in_chunks(targets, IGNORE)

    def chunk_sum(hidden, targets):
        scores = logits(hidden)
        chosen = jnp.take_along_axis(scores, jnp.maximum(targets, 0)[..., None], axis=-1)[..., 0]
        return jnp.where(targets != IGNORE, jax.nn.logsumexp(scores, axis=-1) - chosen, 0).sum()

    # Around the condition: inside of it, the scan would keep a copy of the head for each chunk.
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def if_learnt(hidden, targets):
        return jax.lax.cond((targets != IGNORE).any(), chunk_sum, lambda *_: jnp.float32(0), hidden, targets)

    def step(total, chunk):
        return total + if_learnt(*chunk), None

    return jax.lax.scan(step, jnp.float32(0), (hidden, chunks))[0], _count(targets != IGNORE)


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
