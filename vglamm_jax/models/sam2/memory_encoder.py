"""A mask and the frame it belongs to, fused into a small memory map (facts 1.9)."""

import jax
import jax.numpy as jnp
from flax import nnx

from vglamm_jax.config import Sam2Config
from vglamm_jax.models import layers
from vglamm_jax.models.activations import gelu
from vglamm_jax.models.sam2.convolution import LayerNorm, depthwise, mask_convs, pointwise, shrink

LAYER_SCALE_INIT = 1e-6


class MaskDownSampler(nnx.Module):
    """Four halving 3x3 convolutions: a mask at image size to the stride of the feature map."""

    def __init__(self, cfg: Sam2Config, rngs: nnx.Rngs):
        self.encoder = mask_convs((4, 16, 64, 256), cfg.width, 3, rngs)

    def __call__(self, masks: jax.Array) -> jax.Array:
        """[n, side, side, 1] -> [n, g, g, width]."""
        return shrink(self.encoder, masks)


class FuserBlock(nnx.Module):
    """A ConvNeXt block."""

    def __init__(self, width: int, rngs: nnx.Rngs):
        self.dwconv = nnx.Conv(width, width, (7, 7), feature_group_count=width, rngs=rngs)
        self.norm = LayerNorm(width, epsilon=1e-6, rngs=rngs)
        self.pwconv1 = nnx.Linear(width, 4 * width, rngs=rngs)
        self.pwconv2 = nnx.Linear(4 * width, width, rngs=rngs)
        self.gamma = nnx.Param(jnp.full(width, LAYER_SCALE_INIT))

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.norm(depthwise(self.dwconv, x))
        y = self.pwconv2(gelu(self.pwconv1(y)))
        return x + self.gamma[...].astype(x.dtype) * y


class Fuser(nnx.Module):
    def __init__(self, cfg: Sam2Config, rngs: nnx.Rngs):
        self.layers = layers.stack(lambda r: FuserBlock(cfg.width, r), cfg.memory_fuser_depth, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return layers.run(self.layers, x)


class MemoryEncoder(nnx.Module):
    def __init__(self, cfg: Sam2Config, rngs: nnx.Rngs):
        self.mask_downsampler = MaskDownSampler(cfg, rngs)
        self.pix_feat_proj = nnx.Conv(cfg.width, cfg.width, (1, 1), rngs=rngs)
        self.fuser = Fuser(cfg, rngs)
        self.out_proj = nnx.Conv(cfg.width, cfg.memory_width, (1, 1), rngs=rngs)

    def __call__(self, embed: jax.Array, masks: jax.Array) -> jax.Array:
        """Raw features [n or 1, g, g, width] and scaled masks [n, side, side, 1] -> [n, g, g, memory_width]."""
        x = pointwise(self.pix_feat_proj, embed) + self.mask_downsampler(masks)
        return pointwise(self.out_proj, self.fuser(x))
