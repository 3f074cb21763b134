"""Activations as the original computes them (facts 1.15); they run in float32 whatever the precision of the tower."""

import jax
import jax.numpy as jnp
import numpy as np


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
    the product itself.
    """
    return jax.lax.optimization_barrier(jax.nn.silu(gate) * up)


def _gated_forward(gate, up):
    return gated(gate, up), (gate, up)


def _gated_backward(saved, gradient):
    return jax.lax.optimization_barrier(jax.vjp(lambda gate, up: jax.nn.silu(gate) * up, *saved)[1](gradient))


gated.defvjp(_gated_forward, _gated_backward)
