"""Position encodings of SAM2: sines on a grid, sines on a line, and axial rotations."""

import jax
import jax.numpy as jnp

TEMPERATURE = 10000.0


def sine_grid(height: int, width: int, channels: int) -> jax.Array:
    """Sine encoding of every cell: [height, width, channels], y in the first half (facts 1.9)."""
    half = channels // 2
    rows = _interleaved(jnp.arange(1, height + 1) / (height + 1e-6) * 2 * jnp.pi, half)
    columns = _interleaved(jnp.arange(1, width + 1) / (width + 1e-6) * 2 * jnp.pi, half)
    shape = (height, width, half)
    return jnp.concatenate([jnp.broadcast_to(rows[:, None], shape), jnp.broadcast_to(columns[None], shape)], axis=-1)


def _interleaved(positions: jax.Array, channels: int) -> jax.Array:
    """sin and cos in alternating channels: [n] -> [n, channels]."""
    angles = positions[:, None] / TEMPERATURE ** (2 * jnp.arange(channels // 2) / channels)
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1).reshape(len(positions), channels)


def sine_line(positions: jax.Array, channels: int) -> jax.Array:
    """[...] -> [..., channels]: all sines, then all cosines, every frequency twice."""
    half = channels // 2
    angles = positions[..., None] / TEMPERATURE ** (2 * (jnp.arange(half) // 2) / half)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def axial_rotation(height: int, width: int, channels: int, theta: float) -> tuple[jax.Array, jax.Array]:
    """Cosines and sines [height * width, channels / 2]: the first half of them turns with x, the other with y."""
    frequencies = theta ** -(jnp.arange(0, channels, 4) / channels)
    y, x = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
    angles = jnp.concatenate([jnp.outer(x.ravel(), frequencies), jnp.outer(y.ravel(), frequencies)], axis=-1)
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x: jax.Array, rotation: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Turns adjacent channel pairs of x [..., cells, channels]; the arithmetic is float32."""
    cos, sin = rotation
    pairs = x.astype(jnp.float32).reshape(*x.shape[:-1], -1, 2)
    even, odd = pairs[..., 0], pairs[..., 1]
    turned = jnp.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1)
    return turned.reshape(x.shape).astype(x.dtype)
