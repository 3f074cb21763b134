"""Hiera, the image trunk of SAM2: windowed attention, few global blocks, four resolutions (facts 1.9)."""

import itertools

import jax
import jax.numpy as jnp
from flax import nnx

from vglamm_jax.config import HieraConfig
from vglamm_jax.models import layers
from vglamm_jax.models.activations import gelu
from vglamm_jax.models.attention import attention
from vglamm_jax.models.sam2.convolution import LayerNorm
from vglamm_jax.models.sam2.mlp import Mlp

RunBlocks = list[nnx.Module]  # consecutive blocks of a stage, a stack for each run of equal kinds


def partition(x: jax.Array, window: int) -> jax.Array:
    """[n, height, width, c] -> [n * windows, window**2, c]; a map the window does not divide is zero-padded."""
    n, height, width, channels = x.shape
    x = jnp.pad(x, ((0, 0), (0, -height % window), (0, -width % window), (0, 0)))
    rows, columns = x.shape[1] // window, x.shape[2] // window
    x = x.reshape(n, rows, window, columns, window, channels).swapaxes(2, 3)
    return x.reshape(n * rows * columns, window * window, channels)


def unpartition(x: jax.Array, window: int, n: int, height: int, width: int) -> jax.Array:
    """Undoes `partition`, cutting its padding off."""
    rows, columns = -(-height // window), -(-width // window)
    x = x.reshape(n, rows, columns, window, window, -1).swapaxes(2, 3)
    return x.reshape(n, rows * window, columns * window, -1)[:, :height, :width]


def pool(x: jax.Array) -> jax.Array:
    """2x2 maximum: [n, height, width, c] -> [n, height // 2, width // 2, c]."""
    n, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2].reshape(n, height // 2, 2, -1, channels)
    x = jnp.maximum(x[:, :, 0], x[:, :, 1]).reshape(n, height // 2, width // 2, 2, channels)
    return jnp.maximum(x[:, :, :, 0], x[:, :, :, 1])


def strided(conv: nnx.Conv, images: jax.Array) -> jax.Array:
    """A 7x7 convolution of stride 4, padded by 3, as one of 8x2 strips of 4 pixels: [n, h, w, 3] -> [n, h/4, w/4, c].

    An output sees pixels -3 to 3 around the first of its 4x4 cell: those of that cell and of the one before. Strips of
    4 pixels of a row need no moving, and their 12 values are channels enough to compute with, which 3 are not.
    """
    n, height, width, channels = images.shape
    kernel = jnp.pad(conv.kernel[...], ((1, 0), (1, 0), (0, 0), (0, 0))).reshape(8, 2, 4 * channels, -1)
    strips = images.reshape(n, height, width // 4, 4 * channels).astype(kernel.dtype)
    layout = ("NHWC", "HWIO", "NHWC")
    x = jax.lax.conv_general_dilated(strips, kernel, (4, 1), [(4, 0), (1, 0)], dimension_numbers=layout)
    return x + conv.bias[...]


class PoolingAttention(nnx.Module):
    """Self-attention inside groups of tokens; queries may be pooled 2x2 first."""

    def __init__(self, width_in: int, width: int, heads: int, rngs: nnx.Rngs):
        self.qkv = nnx.Linear(width_in, 3 * width, rngs=rngs)
        self.proj = nnx.Linear(width, width, rngs=rngs)
        self.heads = heads

    def __call__(self, x: jax.Array, pool_grid: tuple[int, int] | None = None) -> jax.Array:
        """[groups, tokens, c] -> [groups, tokens, width], or tokens / 4 of a `pool_grid` (height, width)."""
        q, k, v = layers.into_heads(self.qkv, x, self.heads, 3)
        if pool_grid:
            q = pool(q.reshape(len(x), *pool_grid, -1)).reshape(len(x), -1, *k.shape[2:])
        return layers.from_heads(self.proj, attention(q, k, v))


class Block(nnx.Module):
    """One transformer block; `proj` exists where the width grows, in the first block of a stage."""

    def __init__(self, cfg: HieraConfig, stage: int, entry: bool, rngs: nnx.Rngs):
        width = cfg.stage_width(stage)
        width_in = cfg.stage_width(stage - 1) if entry else width
        self.norm1 = LayerNorm(width_in, epsilon=cfg.norm_eps, rngs=rngs)
        self.attn = PoolingAttention(width_in, width, cfg.stage_heads(stage), rngs)
        self.norm2 = LayerNorm(width, epsilon=cfg.norm_eps, rngs=rngs)
        self.mlp = Mlp((width, 4 * width, width), rngs, gelu)
        self.proj = nnx.Linear(width_in, width, rngs=rngs) if entry else None

    def __call__(self, x: jax.Array, valid: jax.Array | None = None) -> jax.Array:
        """[groups, tokens, c] -> the same; `valid` [groups, tokens, 1] zeroes what attention sees of padding."""
        y = self.norm1(x)
        x = x + self.attn(y if valid is None else y * valid)
        return x + self.mlp(self.norm2(x))

    def enter(self, x: jax.Array, window: int | None) -> jax.Array:
        """Halves the map and doubles the channels: [n, h, w, c] -> [n, h/2, w/2, 2c]."""
        n, height, width, channels = x.shape
        y = self.norm1(x)
        shortcut = pool(self.proj(y))
        if window is None:
            out = self.attn(y.reshape(n, height * width, channels), (height, width)).reshape(shortcut.shape)
        else:
            out = self.attn(partition(y, window), (window, window))
            out = unpartition(out, window // 2, *shortcut.shape[:3])
        x = shortcut + out
        return x + self.mlp(self.norm2(x))


class Stage(nnx.Module):
    """The blocks of one resolution: `first` enters it (none in stage 0), `rest` are stacked equals."""

    def __init__(self, cfg: HieraConfig, stage: int, rngs: nnx.Rngs):
        start, count = cfg.first_block(stage), cfg.stages[stage]
        entries = 1 if stage else 0
        self.window = cfg.windows[stage]
        # The block that enters a stage still works in the window of the stage before.
        self.entry_window = None if start in cfg.global_blocks else cfg.windows[max(stage - 1, 0)]
        self.runs = _runs([i in cfg.global_blocks for i in range(start + entries, start + count)])
        self.first = Block(cfg, stage, True, rngs) if entries else None
        self.rest = (
            layers.stack(lambda r: Block(cfg, stage, False, r), count - entries, rngs) if count > entries else None
        )

    def __call__(self, x: jax.Array, blocks: RunBlocks | None = None) -> jax.Array:
        if self.first is not None:
            x = self.first.enter(x, self.entry_window)
        for (is_global, _, _), run in zip(self.runs, self.blocks_by_run() if blocks is None else blocks):
            x = self._run(x, is_global, run)
        return x

    def blocks_by_run(self) -> RunBlocks:
        """What `runs` refers to, each cut out of the stack."""
        return [layers.part(self.rest, start, stop) for _, start, stop in self.runs]

    def _run(self, x: jax.Array, is_global: bool, blocks: nnx.Module) -> jax.Array:
        """Blocks that are all global or all windowed: tokens are grouped once for all of them."""
        n, height, width, channels = x.shape
        if is_global:
            groups = layers.run(blocks, x.reshape(n, height * width, channels))
            return groups.reshape(x.shape)
        valid = None
        if height % self.window or width % self.window:
            valid = jnp.tile(partition(jnp.ones((1, height, width, 1), x.dtype), self.window), (n, 1, 1))
        groups = partition(x, self.window)
        apply = lambda block, y: block(y, valid)  # noqa: E731
        groups = layers.run(blocks, groups, apply)
        return unpartition(groups, self.window, n, height, width)


def _runs(is_global: list[bool]) -> tuple[tuple[bool, int, int], ...]:
    """(is_global, start, stop) of each maximal run of equal blocks."""
    runs = []
    for key, group in itertools.groupby(range(len(is_global)), key=is_global.__getitem__):
        indices = list(group)
        runs.append((key, indices[0], indices[-1] + 1))
    return tuple(runs)


class Hiera(nnx.Module):
    """Images to one feature map per stage."""

    def __init__(self, cfg: HieraConfig, rngs: nnx.Rngs):
        self.patch_embed = nnx.Conv(3, cfg.width, (7, 7), strides=4, padding=[(3, 3), (3, 3)], rngs=rngs)
        window = cfg.windows[0]
        # Channels first, as published: the only parameters here that are images.
        self.pos_embed = nnx.Param(jnp.zeros((1, cfg.width, *cfg.pos_embed_grid)))
        self.pos_embed_window = nnx.Param(jnp.zeros((1, cfg.width, window, window)))
        self.stages = nnx.List([Stage(cfg, stage, rngs) for stage in range(len(cfg.stages))])

    def blocks_by_run(self) -> list[RunBlocks]:
        """Of each stage. To be cut out once where images are encoded in a loop, and given to each call."""
        return [stage.blocks_by_run() for stage in self.stages]

    def __call__(self, images: jax.Array, blocks: list[RunBlocks] | None = None) -> list[jax.Array]:
        """[n, height, width, 3] -> maps [n, height / (4 * 2**s), width / (4 * 2**s), width * 2**s].

        `blocks`: those of `blocks_by_run`.
        """
        x = strided(self.patch_embed, images)
        x = x + self.position(*x.shape[1:3]).astype(x.dtype)
        maps = []
        for stage, runs in zip(self.stages, blocks or [None] * len(self.stages)):
            x = stage(x, runs)
            maps.append(x)
        return maps

    def position(self, height: int, width: int) -> jax.Array:
        """The background table resized (torch bicubic) plus the window table tiled: [1, height, width, c]."""
        background, window = (p[...].transpose(0, 2, 3, 1) for p in (self.pos_embed, self.pos_embed_window))
        shape = (1, height, width, background.shape[-1])
        background = jax.image.resize(background, shape, jax.image.ResizeMethod.CUBIC_PYTORCH, antialias=False)
        side = window.shape[1]
        tiled = jnp.tile(window, (1, -(-height // side), -(-width // side), 1))
        return background + tiled[:, :height, :width]
