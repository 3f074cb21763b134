"""The current frame looks at what is remembered of an object (facts 1.9, 1.12)."""

import jax
from flax import nnx

from vglamm_jax.config import Sam2Config
from vglamm_jax.models import layers
from vglamm_jax.models.sam2.convolution import LayerNorm
from vglamm_jax.models.sam2.cross_attention import CrossAttention, Rotation
from vglamm_jax.models.sam2.memory import MemoryKeys
from vglamm_jax.models.sam2.position import axial_rotation, sine_grid

NORM_EPS = 1e-5
POSITION_WEIGHT = 0.1  # of the current frame's own position encoding


class MemoryAttentionLayer(nnx.Module):
    """Self-attention, attention to memory, MLP; norms come first."""

    def __init__(self, cfg: Sam2Config, rngs: nnx.Rngs):
        width = cfg.width
        self.self_attn = CrossAttention(width, width, width, 1, rngs)
        self.cross_attn_image = CrossAttention(width, cfg.memory_width, width, 1, rngs)
        self.linear1 = nnx.Linear(width, cfg.memory_attention_mlp, rngs=rngs)
        self.linear2 = nnx.Linear(cfg.memory_attention_mlp, width, rngs=rngs)
        self.norm1 = LayerNorm(width, epsilon=NORM_EPS, rngs=rngs)
        self.norm2 = LayerNorm(width, epsilon=NORM_EPS, rngs=rngs)
        self.norm3 = LayerNorm(width, epsilon=NORM_EPS, rngs=rngs)

    def __call__(self, x: jax.Array, memory: MemoryKeys, rotation: Rotation) -> jax.Array:
        """x [objects or 1, cells, width] -> [objects, cells, width]."""
        y = self.norm1(x)
        x = x + self.self_attn(y, y, y, rotation)
        located = memory.values + memory.position
        y = self.cross_attn_image(self.norm2(x), located, memory.values, rotation, memory.pointers, memory.valid)
        x = x + y
        return x + self.linear2(jax.nn.relu(self.linear1(self.norm3(x))))


class MemoryAttention(nnx.Module):
    def __init__(self, cfg: Sam2Config, rngs: nnx.Rngs):
        self.theta = cfg.rope_theta
        self.layers = layers.stack(lambda r: MemoryAttentionLayer(cfg, r), cfg.memory_attention_depth, rngs)
        self.norm = LayerNorm(cfg.width, epsilon=NORM_EPS, rngs=rngs)

    def __call__(self, embed: jax.Array, memory: MemoryKeys) -> jax.Array:
        """Features of one frame [1 or objects, g, g, width] and every object's memory -> [objects, g, g, width]."""
        images, height, width, channels = embed.shape
        rotation = axial_rotation(height, width, channels, self.theta)
        x = embed + POSITION_WEIGHT * sine_grid(height, width, channels).astype(embed.dtype)
        x = x.reshape(images, height * width, channels)
        # Objects share the frame until they first look at their own memories.
        x = _first(self.layers)(x, memory, rotation)
        x = layers.run(layers.part(self.layers, 1), x, lambda layer, x: layer(x, memory, rotation))
        return self.norm(x).reshape(-1, height, width, channels)


def _first(blocks: nnx.Module) -> nnx.Module:
    return blocks[0] if isinstance(blocks, nnx.List) else jax.tree.map(lambda p: p[0], blocks)
