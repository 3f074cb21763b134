"""The multi-layer perceptron all parts of SAM2 use, and the exact GELU."""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx


def gelu(x: jax.Array) -> jax.Array:
    """Exact GELU through erf: `jax.nn.gelu` goes through erfc, several times slower on a CPU."""
    return 0.5 * x * (1 + jax.lax.erf(x * jnp.asarray(0.5**0.5, x.dtype)))


class Mlp(nnx.Module):
    """Linear layers of the given widths (input first) with an activation between them."""

    def __init__(self, widths: tuple[int, ...], rngs: nnx.Rngs, activation: Callable = jax.nn.relu):
        self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in itertools.pairwise(widths)])
        self.activation = activation

    def __call__(self, x: jax.Array) -> jax.Array:
        *hidden, last = self.layers
        for layer in hidden:
            x = self.activation(layer(x))
        return last(x)
