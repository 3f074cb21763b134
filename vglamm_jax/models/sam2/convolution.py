"""Convolutions whose kernel equals their stride, as matrix products; parameters stay in convolution layout."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from vglamm_jax.models.activations import gelu

# Variances here are small against means; the fast formula E[x^2] - E[x]^2 would cancel.
LayerNorm = functools.partial(nnx.LayerNorm, use_fast_variance=False)


def pointwise(conv: nnx.Conv, x: jax.Array) -> jax.Array:
    """A 1x1 convolution: [..., channels] -> [..., features]."""
    return x @ conv.kernel[0, 0].astype(x.dtype) + conv.bias.astype(x.dtype)


def patchwise(conv: nnx.Conv, x: jax.Array) -> jax.Array:
    """A convolution with stride = kernel: [..., height, width, channels] -> [..., height/k, width/k, features]."""
    k, _, channels, features = conv.kernel.shape
    *lead, height, width, _ = x.shape
    x = x.reshape(*lead, height // k, k, width // k, k, channels)
    x = jnp.moveaxis(x, -4, -3).reshape(*lead, height // k, width // k, k * k * channels)
    return x @ conv.kernel.reshape(-1, features).astype(x.dtype) + conv.bias.astype(x.dtype)


def unpatch(conv: nnx.ConvTranspose, x: jax.Array) -> jax.Array:
    """A transposed convolution with stride = kernel: [..., h, w, channels] -> [..., h*k, w*k, features]."""
    k, _, features, channels = conv.kernel.shape
    *lead, height, width, _ = x.shape
    x = x @ conv.kernel.reshape(-1, channels).T.astype(x.dtype)
    x = jnp.moveaxis(x.reshape(*lead, height, width, k, k, features), -3, -4)
    return x.reshape(*lead, height * k, width * k, features) + conv.bias.astype(x.dtype)


def depthwise(conv: nnx.Conv, x: jax.Array) -> jax.Array:
    """A depthwise "same" convolution of x [n, height, width, channels], as one sum of shifted products.

    XLA fuses the sum into a single pass; its grouped convolution is many times slower on a CPU.
    """
    k = conv.kernel.shape[0]
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)))
    kernel = conv.kernel[:, :, 0].astype(x.dtype)
    shifted = (padded[:, i : i + height, j : j + width] * kernel[i, j] for i in range(k) for j in range(k))
    return sum(shifted, start=jnp.broadcast_to(conv.bias.astype(x.dtype), x.shape))


def mask_convs(widths: tuple[int, ...], out: int, kernel: int, rngs: nnx.Rngs) -> nnx.List:
    """Halving convolutions, each with LayerNorm and GELU, then a 1x1 projection to `out` channels; for `shrink`."""
    pad = (kernel - 1) // 2
    parts = []
    for before, after in zip((1, *widths), widths, strict=False):
        parts.append(nnx.Conv(before, after, (kernel, kernel), strides=2, padding=[(pad, pad)] * 2, rngs=rngs))
        parts += [LayerNorm(after, epsilon=1e-6, rngs=rngs), gelu]
    return nnx.List([*parts, nnx.Conv(widths[-1], out, (1, 1), rngs=rngs)])


def shrink(parts: nnx.List, masks: jax.Array) -> jax.Array:
    """[n, height, width, 1] -> [n, height / 2**k, width / 2**k, out] through k halving convolutions."""
    *halving, projection = parts
    x = masks
    for part in halving:
        x = patchwise(part, x) if isinstance(part, nnx.Conv) and part.kernel_size == (2, 2) else part(x)
    return pointwise(projection, x)
