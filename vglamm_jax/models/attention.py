"""Attention: the one place that chooses how softmax(q k^T) v is computed.

`attention` is called by every tower. Short lengths run as two einsums. Long ones run as a splash kernel
(`jax.experimental.pallas.ops.tpu.splash_attention`) where the program is lowered for a TPU, and in chunks
of queries elsewhere, so that scores of shape [heads, queries, keys] never exist. The choice follows the
platform the program is compiled for, not the one it is traced on: ahead-of-time TPU compiles need that.
"""

from typing import Literal

import jax
import jax.numpy as jnp

Impl = Literal["auto", "einsum", "chunked", "splash"]

CHUNK = 256
HIDDEN = -1e30  # finite: a row that sees no key must not become NaN


def attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool = False,
    window: int | None = None,
    key_valid: jax.Array | None = None,
    q_offset: int | jax.Array = 0,
    scale: float | None = None,
    mask: jax.Array | None = None,
    impl: Impl = "auto",
) -> jax.Array:
    """Scaled dot-product attention with a float32 softmax; [B, Tq, H, D] in the dtype of `q`.

    Args:
      q: [B, Tq, H, D].
      k, v: [B, Tk, KV, D]; H is a multiple of KV, consecutive query heads share a key head.
      causal: query i sees keys j <= q_offset + i.
      window: with `causal`, how many keys a query sees at most, its own included: j > q_offset + i - window.
      key_valid: bool [B, Tk]; keys that exist.
      q_offset: position of the first query among the keys (an int, or a traced scalar in decoding).
      scale: of the scores, 1 / sqrt(D) by default.
      mask: bool, broadcastable to [B, H, Tq, Tk], True = visible; for anything the rest cannot say (slow form).
      impl: a form to insist on, for tests and measurements.

    A query that sees no key gets finite numbers without meaning.
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    q = (q * scale).astype(q.dtype)
    return _einsum(q, k, v, _visible(q.shape[1], k.shape[1], causal, window, key_valid, q_offset, mask))


def _visible(tq, tk, causal, window, key_valid, q_offset, mask):
    """Bool, broadcastable to [B, H, Tq, Tk], or None when everything is visible."""
    parts = [] if mask is None else [mask]
    if key_valid is not None:
        parts.append(key_valid[:, None, None, :])
    if causal:
        ahead = (q_offset + jnp.arange(tq))[:, None] - jnp.arange(tk)
        parts.append(ahead >= 0 if window is None else (ahead >= 0) & (ahead < window))
    visible = None
    for part in parts:
        visible = part if visible is None else visible & part
    return visible


def _einsum(q, k, v, visible):
    b, tq, h, d = q.shape
    kv = k.shape[2]
    q = q.reshape(b, tq, kv, h // kv, d)
    scores = jnp.einsum("bqkgd,bjkd->bkgqj", q, k, preferred_element_type=jnp.float32)
    if visible is not None:
        visible = jnp.broadcast_to(visible, (b, h, tq, k.shape[1])).reshape(scores.shape)
        scores = jnp.where(visible, scores, HIDDEN)
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
    return jnp.einsum("bkgqj,bjkd->bqkgd", weights, v).reshape(b, tq, h, v.shape[-1])
