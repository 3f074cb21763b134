"""Attention with its own projections, between two sequences whose leading axes may broadcast."""

import jax
import jax.numpy as jnp
from flax import nnx

from vglamm_jax.models.attention import attention
from vglamm_jax.models.sam2.position import rotate

Rotation = tuple[jax.Array, jax.Array]


class CrossAttention(nnx.Module):
    """Projects to `inner` channels, attends with `heads` heads, projects back."""

    def __init__(self, width: int, kv_width: int, inner: int, heads: int, rngs: nnx.Rngs):
        self.heads = heads
        self.q_proj = nnx.Linear(width, inner, rngs=rngs)
        self.k_proj = nnx.Linear(kv_width, inner, rngs=rngs)
        self.v_proj = nnx.Linear(kv_width, inner, rngs=rngs)
        self.out_proj = nnx.Linear(inner, width, rngs=rngs)

    def __call__(
        self,
        q: jax.Array,
        k: jax.Array,
        v: jax.Array,
        rotation: Rotation | None = None,
        unrotated: int = 0,
        key_valid: jax.Array | None = None,
    ) -> jax.Array:
        """[..., queries, width], [..., keys, kv_width] twice -> [..., queries, width].

        What is shared along a leading axis may have length 1 there: it is projected once.
        `rotation` covers one grid of cells; keys are whole grids one after the other, then `unrotated` others.
        `key_valid` is bool [batch, keys] where there is one leading axis.

        With one head the weights of a query sum to one over all channels, so narrow values are projected after they
        are averaged: the same result for a fraction of the work.
        """
        late = self.heads == 1 and v.shape[-1] < self.v_proj.out_features
        q, k, v = self.q_proj(q), self.k_proj(k), v if late else self.v_proj(v)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate_grids(k, rotation, unrotated)
        lead = jnp.broadcast_shapes(q.shape[:-2], k.shape[:-2])
        q, k, v = (self._split(x, lead) for x in (q, k, v))
        out = attention(q, k, v, key_valid=key_valid).reshape(*lead, q.shape[1], -1)
        return self.out_proj(self.v_proj(out) if late else out)

    def _split(self, x: jax.Array, lead: tuple[int, ...]) -> jax.Array:
        """[..., tokens, inner] -> [batch, tokens, heads, inner / heads]."""
        x = jnp.broadcast_to(x, (*lead, *x.shape[-2:]))
        return x.reshape(-1, x.shape[-2], self.heads, x.shape[-1] // self.heads)


def rotate_grids(keys: jax.Array, rotation: Rotation, unrotated: int) -> jax.Array:
    """Rotates each whole grid of cells in keys [..., keys, channels], and not the last `unrotated` keys."""
    cells = rotation[0].shape[0]
    rotated = keys.shape[-2] - unrotated
    grids = keys[..., :rotated, :].reshape(*keys.shape[:-2], rotated // cells, cells, keys.shape[-1])
    grids = rotate(grids, rotation).reshape(*keys.shape[:-2], rotated, keys.shape[-1])
    return jnp.concatenate([grids, keys[..., rotated:, :]], axis=-2) if unrotated else grids
