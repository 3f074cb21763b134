"""What joins the encoders, the language model and the mask decoder (facts 1.4, 1.5, 1.8)."""

import jax
import jax.numpy as jnp
from flax import nnx

from vglamm_jax.config import VideoGlammConfig
from vglamm_jax.models.activations import gelu
from vglamm_jax.sharding import BATCH, shard


class Projector(nnx.Module):
    """Vision to language: [..., in_width] -> [..., out_width]."""

    def __init__(self, in_width: int, out_width: int, rngs: nnx.Rngs):
        self.fc1 = nnx.Linear(in_width, out_width, rngs=rngs)
        self.fc2 = nnx.Linear(out_width, out_width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.fc2(gelu(self.fc1(x)))


class SegProjector(nnx.Module):
    """Language to vision: hidden states [..., in_width] -> mask decoder prompts [..., out_width]."""

    def __init__(self, in_width: int, out_width: int, rngs: nnx.Rngs):
        self.fc1 = nnx.Linear(in_width, in_width, rngs=rngs)
        self.fc2 = nnx.Linear(in_width, out_width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.fc2(jax.nn.relu(self.fc1(x)))


def pool_tokens(x: jax.Array, grid: int, pool: int) -> jax.Array:
    """Averages squares of pool x pool tokens: [N, grid * grid, D] -> [N, (grid / pool)^2, D].

    Raises ValueError if the squares do not tile the grid.
    """
    if grid % pool:
        raise ValueError(f"a {grid} x {grid} token grid cannot be pooled by {pool}: choose a pool that divides it")
    small = grid // pool
    return x.reshape(len(x), small, pool, small, pool, -1).mean((2, 4)).reshape(len(x), small * small, -1)


def visual_tokens(image: jax.Array | None, video: jax.Array | None, cfg: VideoGlammConfig, batch: int) -> jax.Array:
    """Projected features of `batch` videos -> the rows the language model reads, [batch, cfg.video_tokens, D].

    `image` [batch * frames, clip grid^2, D] comes from `image_mm_projector`, `video` [batch * clips, clip frames *
    InternVideo2 grid^2, D] (no CLS) from `mm_projector`; both are pooled here, after projection. Per video all
    context images come first, then all clips (facts 1.5). What `cfg.encoders` excludes is not read and may be None.
    """
    parts = []
    for name, features, grid in (("image", image, cfg.clip.grid), ("video", video, cfg.internvideo2.grid)):
        if cfg.encoders in ("both", name):
            width = features.shape[-1]
            pooled = pool_tokens(features.reshape(-1, grid * grid, width), grid, cfg.pool)
            parts.append(pooled.reshape(batch, -1, width))
    return shard(jnp.concatenate(parts, axis=1), BATCH)
