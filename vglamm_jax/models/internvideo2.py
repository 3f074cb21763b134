"""InternVideo2's vision encoder, the temporal encoder (facts 1.3): one short clip in, one feature per patch out.

The 1B model is in `configs/videoglamm_phi3.py`; the 6B model has the same blocks at width 3200, depth 48,
25 heads and MLP width 12800.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vglamm_jax.config import InternVideo2Config
from vglamm_jax.models import layers
from vglamm_jax.models.activations import gelu
from vglamm_jax.models.attention import attention, padded_tokens
from vglamm_jax.models.clip import patches
from vglamm_jax.sharding import BATCH, shard

LAYER_SCALE_INIT = 1e-5


class Attention(nnx.Module):
    def __init__(self, cfg: InternVideo2Config, rngs: nnx.Rngs):
        self.heads = cfg.heads
        self.qkv = nnx.Linear(cfg.width, 3 * cfg.width, use_bias=False, rngs=rngs)
        # Over the concatenated heads, not per head.
        self.q_norm = nnx.RMSNorm(cfg.width, epsilon=cfg.norm_eps, rngs=rngs)
        self.k_norm = nnx.RMSNorm(cfg.width, epsilon=cfg.norm_eps, rngs=rngs)
        self.proj = nnx.Linear(cfg.width, cfg.width, rngs=rngs)

    def __call__(self, x: jax.Array, key_valid: jax.Array | None = None) -> jax.Array:
        q, k, v = layers.in_parts(self.qkv, x, 3)
        q, k, v = (
            shard(y.reshape(*x.shape[:2], self.heads, -1), BATCH, None, "tensor")
            for y in (self.q_norm(q), self.k_norm(k), v)
        )
        return self.proj(attention(q, k, v, key_valid=key_valid).reshape(x.shape))


class Mlp(nnx.Module):
    def __init__(self, cfg: InternVideo2Config, rngs: nnx.Rngs):
        self.fc1 = nnx.Linear(cfg.width, cfg.mlp_width, rngs=rngs)
        self.fc2 = nnx.Linear(cfg.mlp_width, cfg.width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.fc2(gelu(shard(self.fc1(x), BATCH, None, "tensor")))


def scaled(x: jax.Array, gamma: nnx.Param) -> jax.Array:
    """Layer scale: the product is float32 whatever the precision of the tower."""
    return (x.astype(jnp.float32) * gamma[...].astype(jnp.float32)).astype(x.dtype)


class Block(nnx.Module):
    def __init__(self, cfg: InternVideo2Config, rngs: nnx.Rngs):
        self.norm1 = nnx.RMSNorm(cfg.width, epsilon=cfg.norm_eps, rngs=rngs)
        self.attn = Attention(cfg, rngs)
        self.ls1 = nnx.Param(jnp.full(cfg.width, LAYER_SCALE_INIT))
        self.norm2 = nnx.RMSNorm(cfg.width, epsilon=cfg.norm_eps, rngs=rngs)
        self.mlp = Mlp(cfg, rngs)
        self.ls2 = nnx.Param(jnp.full(cfg.width, LAYER_SCALE_INIT))

    def __call__(self, x: jax.Array, key_valid: jax.Array | None = None) -> jax.Array:
        x = shard(x, BATCH)
        x = x + scaled(self.attn(self.norm1(x), key_valid), self.ls1)
        return x + scaled(self.mlp(self.norm2(x)), self.ls2)


class InternVideo2(nnx.Module):
    """Runs only the blocks up to the selected one and returns the raw residual stream (no final norm)."""

    def __init__(self, cfg: InternVideo2Config, rngs: nnx.Rngs):
        self.cfg = cfg
        size = (1, cfg.patch_size, cfg.patch_size)
        self.cls_token = nnx.Param(nnx.initializers.normal(0.02)(rngs.params(), (1, 1, cfg.width)))
        self.pos_embed = nnx.Param(jnp.asarray(sincos_positions(cfg.width, cfg.frames, cfg.grid)))
        self.patch_embed = nnx.Conv(3, cfg.width, size, strides=size, padding="VALID", rngs=rngs)
        self.blocks = layers.stack(lambda r: Block(cfg, r), cfg.blocks_run, rngs)

    def embed(self, clips: jax.Array) -> jax.Array:
        """[N, frames, S, S, 3] -> [N, 1 + frames * grid * grid, width], CLS first, then frame-major patches."""
        kernel = self.patch_embed.kernel[...].reshape(-1, self.cfg.width)
        x = patches(clips.reshape(-1, *clips.shape[2:]), self.cfg.patch_size).astype(kernel.dtype) @ kernel
        x = (x + self.patch_embed.bias[...]).reshape(len(clips), -1, self.cfg.width)
        first = jnp.broadcast_to(self.cls_token[...], (len(x), 1, self.cfg.width))
        return jnp.concatenate([first.astype(x.dtype), x], axis=1) + self.pos_embed[...]

    def __call__(self, clips: jax.Array, *, remat: bool = False, gather: bool = False) -> jax.Array:
        """Normalised clips [N, frames, S, S, 3] -> [N, 1 + frames * grid * grid, width], row 0 being CLS.

        Clips do not see each other. Raises ValueError if a clip does not fit the position table
        (`resize_positions` makes one for another number of frames).
        """
        shape = (self.cfg.frames, self.cfg.image_size, self.cfg.image_size, 3)
        if clips.shape[1:] != shape:
            expected = ", ".join(map(str, shape))
            raise ValueError(f"InternVideo2 takes clips [N, {expected}], got {list(clips.shape)}: resize first")
        x = self.embed(clips)
        count = x.shape[1]
        x, real = padded_tokens(x) if gather else (x, None)
        pieces = {"attn/qkv/kernel": (self.cfg.width,) * 3} if gather else None
        x = layers.run(self.blocks, x, lambda block, x: block(x, real), remat=remat, gather=pieces)
        return x[:, :count]


def sincos_1d(positions: np.ndarray, width: int) -> np.ndarray:
    """[...] -> [..., width]: sines, then cosines, of the positions at width / 2 frequencies."""
    frequencies = 10000.0 ** (-np.arange(width // 2) / (width / 2))
    angles = positions[..., None] * frequencies
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)


def sincos_positions(width: int, frames: int, grid: int) -> np.ndarray:
    """Initial position table [1, 1 + frames * grid * grid, width]: a quarter time, the rest x then y; CLS is zero.

    Raises ValueError unless width is a multiple of 16, which the three parts need to be even.
    """
    if width % 16:
        raise ValueError(f"InternVideo2's width must be a multiple of 16 for its sin-cos positions, got {width}")
    t, y, x = np.meshgrid(np.arange(frames), np.arange(grid), np.arange(grid), indexing="ij")
    spatial = width // 4 * 3 // 2
    table = [sincos_1d(t, width // 4), sincos_1d(x, spatial), sincos_1d(y, spatial)]
    table = np.concatenate(table, axis=-1).reshape(1, -1, width)
    return np.concatenate([np.zeros((1, 1, width)), table], axis=1).astype(np.float32)


def resize_positions(table: jax.Array, frames: tuple[int, int], grid: tuple[int, int]) -> jax.Array:
    """Position table [1, 1 + t * g * g, D] made for (frames[0], grid[0]) -> the same for (frames[1], grid[1]).

    The CLS row is kept; time is linear and space bicubic, both without antialiasing (facts 1.3).
    """
    width = table.shape[-1]
    x = table[0, 1:].reshape(frames[0], grid[0], grid[0], width)
    if frames[0] != frames[1]:
        x = jax.image.resize(x, (frames[1], *x.shape[1:]), "linear", antialias=False)
    if grid[0] != grid[1]:
        cubic = jax.image.ResizeMethod.CUBIC_PYTORCH
        x = jax.image.resize(x, (frames[1], grid[1], grid[1], width), cubic, antialias=False)
    return jnp.concatenate([table[:, :1], x.reshape(1, -1, width)], axis=1)
