"""Activations as the original computes them (facts 1.15); they run in float32 whatever the precision of the tower."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from vglamm_jax.models.layers import KEPT


def gelu(x: jax.Array) -> jax.Array:
    """Exact GELU, by erf: `jax.nn.gelu` goes by erfc, which takes more than twice as long on a CPU."""
    y = x.astype(jnp.float32)
    return (0.5 * y * (1 + jax.lax.erf(y * np.float32(0.5**0.5)))).astype(x.dtype)


def quick_gelu(x: jax.Array) -> jax.Array:
    """CLIP's approximation, x * sigmoid(1.702 x)."""
    return x * jax.nn.sigmoid(1.702 * x)


@jax.custom_vjp
def gated(gate: jax.Array, up: jax.Array) -> jax.Array:
    """silu(gate) * up, and its gradients, each an array of its own before a matrix product takes it.

    XLA would compute them inside the product instead, once for each tile of its columns, at more than the price of
    the product itself. For the backward pass the two slopes are kept, so that it only multiplies.
    """
    return jax.lax.optimization_barrier(jax.nn.silu(gate) * up)


def _gated_forward(gate, up):
    y = gate.astype(jnp.float32)
    share = jax.nn.sigmoid(y)
    by_gate = up.astype(jnp.float32) * share * (1 + y * (1 - share))
    slopes = by_gate.astype(gate.dtype), (y * share).astype(up.dtype)
    return gated(gate, up), tuple(checkpoint_name(slope, KEPT) for slope in slopes)


def _gated_backward(slopes, gradient):
    return jax.lax.optimization_barrier(tuple(slope * gradient for slope in slopes))


gated.defvjp(_gated_forward, _gated_backward)
