"""Norms whose variance is small against their mean, as those of SAM2 are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vglamm_jax.models.sam2.convolution import LayerNorm


@pytest.mark.parametrize("dtype, most", [(jnp.float32, 1e-5), (jnp.bfloat16, 1e-2)])
@pytest.mark.parametrize("mean", [0, 100])
def test_norms_keep_small_variances(dtype, most, mean):
    """Against float64, on the inputs as they are after rounding."""
    norm = LayerNorm(96, epsilon=1e-6, rngs=nnx.Rngs(0))
    norm.scale[...], norm.bias[...] = jnp.linspace(0.5, 2, 96), jnp.linspace(-1, 1, 96)
    x = (mean + jax.random.normal(jax.random.key(0), (40, 96))).astype(dtype)
    exact = np.asarray(x, np.float64)
    exact = (exact - exact.mean(-1, keepdims=True)) / np.sqrt(exact.var(-1, keepdims=True) + 1e-6)
    exact = exact * np.asarray(norm.scale[...], np.float64) + np.asarray(norm.bias[...], np.float64)
    cast = jax.tree.map(lambda p: p.astype(dtype), norm)
    found = cast(x)
    assert found.dtype == dtype
    np.testing.assert_allclose(np.asarray(found, np.float64), exact, atol=most * np.abs(exact).max())
