"""Attention: the one place that chooses how softmax(q k^T) v is computed.

`attention` is called by every tower. Lowered for a TPU, long sequences run as a splash kernel
(`jax.experimental.pallas.ops.tpu.splash_attention`) and short ones as two einsums; elsewhere the work is cut
into chunks of heads and queries, so that scores of shape [heads, queries, keys] never exist as a whole.
The choice follows the platform the program is compiled for, not the one it is traced on: ahead-of-time TPU
compiles need that. Where a mesh is set, chunks and kernels run per device (batch and heads are split).
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as splash_mask

from vglamm_jax.models.layers import KEPT
from vglamm_jax.sharding import BATCH, P

Impl = Literal["auto", "einsum", "chunked", "splash", "splash_interpret"]

QUERY_BLOCK, KEY_BLOCK = 1024, 1024  # of attention to long, partly valid keys on a CPU
HIDDEN = -1e30  # finite: a row that sees no key must not become NaN
SCORES = 2**21  # scores held at a time by the chunked form: a few MB, near the caches
CHUNK = 512  # most queries of one chunk
FEW_QUERIES = 8  # up to here (decoding) the scores are small and one einsum is best
SPLASH_SCORES = 512 * 512  # from here on the kernel pays
LARGEST_BLOCK = 5  # of the kernel, in tiles of 128


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
    """Scaled dot-product attention with a float32 softmax; [B, Tq, H, Dv] in the dtype of `q`.

    Args:
      q: [B, Tq, H, D].
      k, v: [B, Tk, KV, D], [B, Tk, KV, Dv]; H is a multiple of KV, consecutive query heads share a key head.
      causal: query i sees keys j <= q_offset + i.
      window: with `causal`, how many keys a query sees at most, its own included: j > q_offset + i - window.
      key_valid: bool [B, Tk]; keys that exist.
      q_offset: position of the first query among the keys (an int, or a traced scalar in decoding).
      scale: of the scores, 1 / sqrt(D) by default.
      mask: bool, broadcastable to [B, H, Tq, Tk], True = visible; for what the rest cannot say (always einsum).
      impl: a form to insist on, for tests and measurements.

    A query that sees no key gets finite numbers without meaning.
    """
    q = (q * (q.shape[-1] ** -0.5 if scale is None else scale)).astype(q.dtype)
    rule = {"causal": causal, "window": window}
    if mask is not None or impl == "einsum" or (impl == "auto" and q.shape[1] <= FEW_QUERIES):
        return _einsum(q, k, v, key_valid, q_offset, mask=mask, **rule)
    forms = {
        "chunked": functools.partial(_chunked, q_offset=q_offset, **rule),
        "splash": functools.partial(_splash, interpret=impl == "splash_interpret", **rule),
    }
    if impl != "auto":
        return _per_device(forms[impl.removesuffix("_interpret")], q, k, v, key_valid)

    def on_tpu(q, k, v, key_valid):
        if splash_fits(q, k, causal, q_offset):
            return forms["splash"](q, k, v, key_valid)
        return _einsum(q, k, v, key_valid, q_offset, sums_by_product=k.shape[1] >= 256, **rule)

    def by_platform(*args):
        return lax.platform_dependent(*args, tpu=on_tpu, default=forms["chunked"])

    return _per_device(by_platform, q, k, v, key_valid)


def cached_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    key_valid: jax.Array,
    q_offset: jax.Array,
    window: int | None = None,
) -> jax.Array:
    """Causal attention of a few queries [B, Tq, H, D] to a cache whose slots come last, [B * KV, D, slots].

    From this shape XLA's CPU matrix-vector products read the cache as it stands; from [B, slots, KV, D] they
    transpose all of it for each token.
    """
    b, tq, h, d = q.shape
    kv, slots = k.shape[0] // b, k.shape[-1]
    group = h // kv
    q = (q * d**-0.5).astype(q.dtype).reshape(b, tq, kv, group, d).transpose(0, 2, 3, 1, 4).reshape(b * kv, -1, d)
    visible = _visible(q_offset + jnp.arange(tq), jnp.arange(slots), True, window)
    visible = visible & key_valid[:, None, None, None, :]
    scores = jnp.einsum("nrd,ndj->nrj", q, k, preferred_element_type=jnp.float32)
    weights, total = _softmax_weights(scores.reshape(b, kv, group, tq, slots), visible)
    weights = (weights / total).astype(v.dtype).reshape(scores.shape)
    out = jnp.einsum("nrj,ndj->nrd", weights, v)
    return out.reshape(b, kv, group, tq, d).transpose(0, 3, 1, 2, 4).reshape(b, tq, h, d)


def splash_fits(q: jax.Array, k: jax.Array, causal: bool, q_offset: int | jax.Array) -> bool:
    """Whether the kernel can say it (a causal mask needs queries and keys to start together) and pays."""
    tq, tk = q.shape[1], k.shape[1]
    sayable = not causal or (isinstance(q_offset, int) and q_offset == 0 and tq == tk)
    return sayable and tq * tk >= SPLASH_SCORES


def padded_tokens(x: jax.Array) -> tuple[jax.Array, jax.Array | None]:
    """Tokens [B, T, width] filled up to whole blocks of the kernel; which are real, bool [B, length], None = all.

    For a tower: padded once, where each of its layers would pad queries, keys and values. Nothing is done for so few
    tokens that the kernel is not used.
    """
    count = x.shape[1]
    length = _blocks(count)[1] if count**2 >= SPLASH_SCORES else count
    if length == count:
        return x, None
    real = jnp.broadcast_to(jnp.arange(length) < count, (len(x), length))
    return jnp.pad(x, ((0, 0), (0, length - count), (0, 0))), real


def _per_device(form, q, k, v, key_valid):
    """`form` on each device's part of batch and heads; loops and kernels cannot be partitioned by XLA."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.manual_axes:
        return form(q, k, v, key_valid)
    whole_batch = q.shape[0] % (mesh.shape["data"] * mesh.shape["fsdp"])
    whole_heads = q.shape[2] % mesh.shape["tensor"] or k.shape[2] % mesh.shape["tensor"]
    batch, heads = None if whole_batch else BATCH, None if whole_heads else "tensor"
    spec = P(batch, None, heads, None)
    valid_spec = None if key_valid is None else P(batch, None)
    return jax.shard_map(form, in_specs=(spec, spec, spec, valid_spec), out_specs=spec, check_vma=False)(
        q, k, v, key_valid
    )


def _visible(queries, keys, causal, window):
    """Bool [queries, keys] for positions of queries and keys, or None when all is visible."""
    if not causal:
        return None
    ahead = queries[:, None] - keys
    return ahead >= 0 if window is None else (ahead >= 0) & (ahead < window)


def _softmax_weights(scores, visible):
    """exp(scores - max) and its sum, float32, over the last axis."""
    scores = scores if visible is None else jnp.where(visible, scores, HIDDEN)
    weights = jnp.exp(scores - lax.stop_gradient(scores.max(-1, keepdims=True)))
    return weights, weights.sum(-1, keepdims=True)


def _einsum(q, k, v, key_valid, q_offset, *, causal, window, mask=None, sums_by_product=False):
    """The plain form; scores [B, KV, H / KV, Tq, Tk] exist.

    `sums_by_product`: the sums of the weights come out of the product with the values, as one more channel that is 1
    everywhere: on a TPU, where the product has lanes to spare, a pass over the scores less.
    """
    b, tq, h, d = q.shape
    tk, kv = k.shape[1:3]
    visible = _visible(q_offset + jnp.arange(tq), jnp.arange(tk), causal, window)
    if key_valid is not None:
        valid = key_valid[:, None, None, None, :]
        visible = valid if visible is None else valid & visible
    if mask is not None:
        mask = jnp.broadcast_to(mask, (b, h, tq, tk)).reshape(b, kv, h // kv, tq, tk)
        visible = mask if visible is None else mask & visible
    scores = jnp.einsum("bqkgd,bjkd->bkgqj", q.reshape(b, tq, kv, h // kv, d), k, preferred_element_type=jnp.float32)
    weights, total = _softmax_weights(scores, visible)
    if sums_by_product:
        v = jnp.concatenate([v, jnp.ones_like(v[..., :1])], axis=-1)
        out = jnp.einsum("bkgqj,bjkd->bqkgd", weights.astype(v.dtype), v, preferred_element_type=jnp.float32)
        out = out[..., :-1] / out[..., -1:]
    else:
        out = jnp.einsum("bkgqj,bjkd->bqkgd", (weights / total).astype(v.dtype), v)
    return out.reshape(b, tq, h, out.shape[-1]).astype(q.dtype)


def _chunked(q, k, v, key_valid, *, q_offset, causal, window):
    """A loop over groups of heads, then over chunks of queries; gradients recompute the scores."""
    b, tq, h, d = q.shape
    tk, kv = k.shape[1:3]
    group = h // kv
    q = q.reshape(b, tq, kv, group, d).transpose(0, 2, 3, 1, 4).reshape(b * kv, group, tq, d)
    k, v = (x.transpose(0, 2, 1, 3).reshape(b * kv, tk, x.shape[-1]) for x in (k, v))
    if key_valid is not None:
        key_valid = jnp.repeat(key_valid, kv, axis=0)
    if key_valid is not None and not causal and tk >= 2 * KEY_BLOCK:
        out = _key_blocks(q.reshape(b * kv, group * tq, d), k, v, key_valid).astype(q.dtype)
        return out.reshape(b, kv, group, tq, v.shape[-1]).transpose(0, 3, 1, 2, 4).reshape(b, tq, h, v.shape[-1])
    at_once = _largest_divisor(b * kv, max(1, SCORES // (group * tq * tk)))
    chunks = -(-tq // min(CHUNK, max(64, SCORES // (group * tk))))

    @jax.checkpoint
    def heads(x):
        return _query_chunks(*x, chunks, q_offset, causal, window)

    parts = jax.tree.map(lambda x: x.reshape(-1, at_once, *x.shape[1:]), (q, k, v, key_valid))
    out = heads(jax.tree.map(lambda x: x[0], parts)) if at_once == b * kv else lax.map(heads, parts)
    return out.reshape(b, kv, group, tq, v.shape[-1]).transpose(0, 3, 1, 2, 4).reshape(b, tq, h, v.shape[-1])


def _key_blocks(q, k, v, key_valid):
    """[n, Tq, D] against long keys [n, Tk, D], block by block with a running softmax; blocks without a valid key, such
    as memories that do not exist yet, are skipped."""
    count, size = -(-k.shape[1] // KEY_BLOCK), -(-q.shape[1] // QUERY_BLOCK)
    blocks = tuple(_in_blocks(x, count) for x in (k, v, key_valid))

    @jax.checkpoint
    def see(sums, rows, k, v, valid):
        highest, total, summed = sums
        scores = jnp.einsum("nrd,njd->nrj", rows, k, preferred_element_type=jnp.float32)
        scores = jnp.where(valid[:, None], scores, HIDDEN)
        new = jnp.maximum(highest, lax.stop_gradient(scores.max(-1)))
        weights, shrink = jnp.exp(scores - new[..., None]), jnp.exp(highest - new)
        found = jnp.einsum("nrj,njd->nrd", weights.astype(v.dtype), v, preferred_element_type=jnp.float32)
        return new, total * shrink + weights.sum(-1), summed * shrink[..., None] + found

    def rows_against_all(rows):
        def step(sums, block):
            return lax.cond(block[2].any(), lambda s: see(s, rows, *block), lambda s: s, sums), None

        empty = jnp.zeros(rows.shape[:2])
        start = (empty + HIDDEN, empty, jnp.zeros((*rows.shape[:2], v.shape[-1])))
        (_, total, summed), _ = lax.scan(step, start, blocks)
        return summed / jnp.where(total == 0, 1, total)[..., None]

    out = lax.map(rows_against_all, _in_blocks(q, size))
    return out.swapaxes(0, 1).reshape(len(q), -1, v.shape[-1])[:, : q.shape[1]]


def _in_blocks(x, count):
    """[n, T, ...] -> [count, n, ceil(T / count), ...], zero-padded."""
    size = -(-x.shape[1] // count)
    x = jnp.pad(x, ((0, 0), (0, count * size - x.shape[1]), *((0, 0),) * (x.ndim - 2)))
    return x.reshape(len(x), count, size, *x.shape[2:]).swapaxes(0, 1)


def _query_chunks(q, k, v, key_valid, chunks, q_offset, causal, window):
    """[n, group, Tq, D] against [n, Tk, D], `chunks` pieces of the queries one after the other."""
    n, _, tq, d = q.shape
    size = -(-tq // chunks)
    out = []
    for start in range(0, tq, size):
        part = q[:, :, start : start + size]
        first, last = _key_range(start, part.shape[2], k.shape[1], q_offset, causal, window)
        queries = q_offset + start + jnp.arange(part.shape[2])
        visible = _visible(queries, jnp.arange(first, last), causal, window)
        if key_valid is not None:
            valid = key_valid[:, None, None, first:last]
            visible = valid if visible is None else valid & visible
        rows = part.reshape(n, -1, d)
        scores = jnp.einsum("nrd,njd->nrj", rows, k[:, first:last], preferred_element_type=jnp.float32)
        weights, total = _softmax_weights(scores.reshape(*part.shape[:3], last - first), visible)
        summed = jnp.einsum(
            "nrj,njd->nrd", weights.reshape(scores.shape).astype(v.dtype), v[:, first:last],
            preferred_element_type=jnp.float32,
        )  # fmt: skip
        out.append((summed.reshape(*part.shape[:3], -1) / total).astype(q.dtype))
    return out[0] if len(out) == 1 else jnp.concatenate(out, axis=2)


def _key_range(start, size, tk, q_offset, causal, window):
    """The keys some query of [start, start + size) may see; all of them where the offset is not known."""
    if not causal or not isinstance(q_offset, int):
        return 0, tk
    first = 0 if window is None else max(0, q_offset + start - window + 1)
    return min(first, tk - 1), max(1, min(tk, q_offset + start + size))


def _largest_divisor(n, at_most):
    return next(i for i in range(min(n, at_most), 0, -1) if n % i == 0)


def _splash(q, k, v, key_valid, *, causal, window, interpret):
    """The TPU kernel: lengths padded to blocks, padding and invalid keys kept apart by segment ids."""
    tq, tk = q.shape[1], k.shape[1]
    block_q, padded_q = _blocks(tq)
    block_k, padded_k = _blocks(tk)
    kernel = _splash_kernel(q.shape[2], (padded_q, padded_k), (block_q, block_k), causal, window, interpret)
    valid = jnp.ones((q.shape[0], tk), bool) if key_valid is None else key_valid
    # A row must see some key: invalid queries of self-attention see the invalid keys, and themselves;
    # where no key at all is valid, all of them are taken.
    valid = jnp.pad(valid, ((0, 0), (0, padded_k - tk)))
    key_ids = valid.astype(jnp.int32)
    if causal:
        query_ids = key_ids
    else:
        query_ids = jnp.ones((q.shape[0], padded_q), jnp.int32)
        key_ids = jnp.where(valid.any(-1, keepdims=True), key_ids, 1)
    q, k, v = (
        checkpoint_name(_padded(x, n).transpose(0, 2, 1, 3), KEPT)
        for x, n in ((q, padded_q), (k, padded_k), (v, padded_k))
    )
    out = jax.vmap(kernel)(q, k, v, splash.SegmentIds(query_ids, key_ids)).transpose(0, 2, 1, 3)
    return out.reshape(*out.shape[:2], -1)[:, :tq].reshape(out.shape[0], tq, *out.shape[2:])


def _padded(x, length):
    """[B, T, H, D] -> [B, length, H, D]; all heads side by side, as D alone would leave lanes of a TPU idle."""
    rows = x.reshape(*x.shape[:2], -1)
    return jnp.pad(rows, ((0, 0), (0, length - x.shape[1]), (0, 0))).reshape(len(x), length, *x.shape[2:])


def _blocks(length):
    """Block length (a multiple of 128) and the padded length, a multiple of that: little padding, blocks not small."""
    tiles = -(-length // 128)
    if tiles <= LARGEST_BLOCK:
        return 128 * tiles, 128 * tiles
    sizes = range(LARGEST_BLOCK, LARGEST_BLOCK // 2, -1)
    padded, block = min((-(-tiles // size) * size, -size) for size in sizes)
    return -128 * block, 128 * padded


def _splash_kernel(heads, lengths, blocks, causal, window, interpret):
    if not causal:
        mask = splash_mask.FullMask(lengths)
    elif window is None:
        mask = splash_mask.CausalMask(lengths)
    else:
        mask = splash_mask.LocalMask(lengths, (window - 1, 0), 0)
    q, kv = blocks
    sizes = splash.BlockSizes(
        block_q=q, block_kv=kv, block_q_dkv=q, block_kv_dkv=kv, block_kv_dkv_compute=kv, block_q_dq=q, block_kv_dq=kv
    )
    return splash.make_splash_mha_single_device(
        splash_mask.MultiHeadMask([mask] * heads), block_sizes=sizes, interpret=interpret, residual_checkpoint_name=KEPT
    )
