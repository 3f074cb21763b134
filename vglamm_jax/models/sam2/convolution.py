"""Convolutions whose kernel equals their stride, as matrix products; parameters stay in convolution layout."""

import jax
import jax.numpy as jnp
from flax import nnx

from vglamm_jax.models.activations import gelu


class LayerNorm(nnx.LayerNorm):
    """Over channels. Variances here may be small against means, where the fast formula E[x^2] - E[x]^2 cancels: it is
    taken for inputs of less than float32 precision alone, whose own rounding loses more."""

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x.astype(jnp.float32)
        mean = y.mean(-1, keepdims=True)
        if x.dtype == jnp.float32:
            variance = jnp.square(y - mean).mean(-1, keepdims=True)
        else:
            variance = jnp.maximum(jnp.square(y).mean(-1, keepdims=True) - jnp.square(mean), 0)
        y = (y - mean) * (jax.lax.rsqrt(variance + self.epsilon) * self.scale[...]) + self.bias[...]
        return y.astype(jnp.result_type(x, self.scale[...], self.bias[...]))


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
    return _shifted_products(x, conv.kernel[:, :, 0].astype(x.dtype), conv.bias.astype(x.dtype))


@jax.custom_vjp
def _shifted_products(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    k = len(kernel)
    padded = _padded(x, k)
    shifted = (_shift(padded, i, j, x.shape) * kernel[i, j] for i in range(k) for j in range(k))
    return sum(shifted, start=jnp.broadcast_to(bias, x.shape))


def _shifted_forward(x, kernel, bias):
    return _shifted_products(x, kernel, bias), (x, kernel)


def _shifted_backward(saved, dy):
    """Its own rule, as the derivative of each of the k * k products on its own takes XLA half a minute to compile."""
    x, kernel = saved
    k = len(kernel)
    padded = _padded(x, k)

    def row(i):
        strip = jax.lax.dynamic_slice_in_dim(padded, i, x.shape[1], axis=1)
        return jnp.stack([_products(_shift(strip, 0, j, x.shape), dy) for j in range(k)])

    dx = _shifted_products(dy, kernel[::-1, ::-1], jnp.zeros(x.shape[-1], dy.dtype))
    dbias = dy.sum((0, 1, 2), dtype=jnp.float32)
    return dx, jax.lax.map(row, jnp.arange(k)).astype(kernel.dtype), dbias.astype(kernel.dtype)


_shifted_products.defvjp(_shifted_forward, _shifted_backward)


def _padded(x, k):
    return jnp.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)))


def _shift(padded, i, j, shape):
    return padded[:, i : i + shape[1], j : j + shape[2]]


def _products(a, b):
    return jnp.einsum("nhwc,nhwc->c", a, b, preferred_element_type=jnp.float32)


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
