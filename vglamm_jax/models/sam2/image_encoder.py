"""Hiera and the feature pyramid on top of it."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from vglamm_jax.config import Sam2Config
from vglamm_jax.models.sam2.convolution import pointwise
from vglamm_jax.models.sam2.hiera import Hiera, RunBlocks


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Features:
    """What the rest of SAM2 needs of n images, g = image side / 16, c = model width."""

    embed: jax.Array  # [n, g, g, c]
    high_res: tuple[jax.Array, jax.Array]  # [n, 4g, 4g, c / 8] and [n, 2g, 2g, c / 4]


class FpnNeck(nnx.Module):
    """1x1 convolutions to the model width and a top-down path (facts 1.9); `convs[0]` is the deepest."""

    def __init__(self, cfg: Sam2Config, rngs: nnx.Rngs):
        self.top_down_levels = cfg.top_down_levels
        depths = range(len(cfg.hiera.stages))
        self.convs = nnx.List(
            [nnx.Conv(cfg.hiera.stage_width(s), cfg.width, (1, 1), rngs=rngs) for s in reversed(depths)]
        )

    def __call__(self, maps: list[jax.Array]) -> list[jax.Array]:
        """Maps of the trunk, finest first -> the same sizes, [n, h, w, c] each, finest first."""
        out, above = [], None
        deepest = len(maps) - 1
        for level in range(deepest, -1, -1):
            x = pointwise(self.convs[deepest - level], maps[level])
            if level in self.top_down_levels and above is not None:
                x = x + jnp.repeat(jnp.repeat(above, 2, axis=1), 2, axis=2)
            above = x
            out.append(x)
        return out[::-1]


class ImageEncoder(nnx.Module):
    """Images to the pyramid levels at strides 4, 8 and 16; the deepest level only feeds them.

    Raises ValueError for an image side the strides do not divide.
    """

    def __init__(self, cfg: Sam2Config, rngs: nnx.Rngs):
        stride = 4 * 2 ** (len(cfg.hiera.stages) - 1)
        if cfg.image_size % stride:
            raise ValueError(f"sam2.image_size is {cfg.image_size}: make it a multiple of {stride}")
        self.trunk = Hiera(cfg.hiera, rngs)
        self.neck = FpnNeck(cfg, rngs)

    def __call__(self, images: jax.Array, blocks: list[RunBlocks] | None = None) -> list[jax.Array]:
        """[n, side, side, 3] -> [n, side/4, side/4, c], [n, side/8, side/8, c], [n, side/16, side/16, c].

        `blocks`: see `Hiera.blocks_by_run`.
        """
        return self.neck(self.trunk(images, blocks))[:3]
