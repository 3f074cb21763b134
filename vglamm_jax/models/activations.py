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
