"""The gate of the language model's MLP has a backward pass of its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vglamm_jax.models.activations import gated


@pytest.mark.parametrize("dtype, most", [(jnp.float32, 1e-6), (jnp.bfloat16, 2e-2)])
def test_gradients_of_the_gate_are_those_of_its_formula(dtype, most):
    keys = jax.random.split(jax.random.key(0), 3)
    gate, up, gradient = (3 * jax.random.normal(key, (64, 32)) for key in keys)
    exact, plain = jax.vjp(lambda gate, up: jax.nn.silu(gate) * up, gate, up)
    ours, back = jax.vjp(gated, gate.astype(dtype), up.astype(dtype))
    for found, wanted in zip((ours, *back(gradient.astype(dtype))), (exact, *plain(gradient)), strict=True):
        assert found.dtype == dtype
        np.testing.assert_allclose(found.astype(jnp.float32), wanted, atol=most * float(jnp.abs(wanted).max()))
