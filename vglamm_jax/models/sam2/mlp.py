"""The multi-layer perceptron all parts of SAM2 use."""

import itertools
from collections.abc import Callable

import jax
from flax import nnx


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
