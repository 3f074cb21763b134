"""Prompt tokens and image features to masks (facts 1.9, 1.11)."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from vglamm_jax.config import Sam2Config
from vglamm_jax.models.activations import gelu
from vglamm_jax.models.sam2.convolution import LayerNorm, pointwise, unpatch
from vglamm_jax.models.sam2.mlp import Mlp
from vglamm_jax.models.sam2.two_way import TwoWayTransformer


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Masks:
    """Candidates for each object; m = 1 + num_multimask as decoded: the single mask, then the multi-masks."""

    logits: jax.Array  # float32 [..., m, 4g, 4g]
    iou: jax.Array  # [..., m], the predicted quality, in [0, 1]
    tokens: jax.Array  # [..., m, width]
    object_score: jax.Array  # [...], above 0 = the object is there

    def multi(self) -> "Masks":
        """The multi-masks alone."""
        return Masks(self.logits[..., 1:, :, :], self.iou[..., 1:], self.tokens[..., 1:, :], self.object_score)

    def single(self) -> "Masks":
        """The single mask alone, m = 1."""
        return Masks(self.logits[..., :1, :, :], self.iou[..., :1], self.tokens[..., :1, :], self.object_score)

    def best(self) -> "Masks":
        """The candidate of the highest predicted quality, m = 1."""
        index = jnp.argmax(self.iou, axis=-1)[..., None]
        return Masks(
            jnp.take_along_axis(self.logits, index[..., None, None], axis=-3),
            jnp.take_along_axis(self.iou, index, axis=-1),
            jnp.take_along_axis(self.tokens, index[..., None], axis=-2),
            self.object_score,
        )

    def stable(self, delta: float, threshold: float) -> "Masks":
        """The single mask, or the best multi-mask where it is unstable, m = 1; the token stays the single one's.

        Stable: of the pixels above -delta, a share of at least `threshold` is above delta (facts 1.11).
        """
        single, best = self.single(), self.multi().best()
        inner = jnp.sum(single.logits > delta, axis=(-2, -1))
        outer = jnp.sum(single.logits > -delta, axis=(-2, -1))
        is_stable = jnp.where(outer > 0, inner / jnp.maximum(outer, 1), 1.0) >= threshold
        return Masks(
            jnp.where(is_stable[..., None, None], single.logits, best.logits),
            jnp.where(is_stable, single.iou, best.iou),
            single.tokens,
            self.object_score,
        )


class MaskDecoder(nnx.Module):
    def __init__(self, cfg: Sam2Config, rngs: nnx.Rngs):
        width, candidates = cfg.width, cfg.num_multimask + 1
        self.candidates = candidates
        self.transformer = TwoWayTransformer(cfg, rngs)
        self.iou_token = nnx.Embed(1, width, rngs=rngs)
        self.mask_tokens = nnx.Embed(candidates, width, rngs=rngs)
        self.obj_score_token = nnx.Embed(1, width, rngs=rngs)
        self.conv_s0 = nnx.Conv(width, width // 8, (1, 1), rngs=rngs)
        self.conv_s1 = nnx.Conv(width, width // 4, (1, 1), rngs=rngs)
        up = {"kernel_size": (2, 2), "strides": (2, 2), "transpose_kernel": True, "rngs": rngs}
        self.output_upscaling = nnx.List(
            [
                nnx.ConvTranspose(width, width // 4, **up),
                LayerNorm(width // 4, epsilon=1e-6, rngs=rngs),
                gelu,
                nnx.ConvTranspose(width // 4, width // 8, **up),
            ]
        )
        hypernetwork = nnx.vmap(lambda r: Mlp((width, width, width, width // 8), r))
        self.output_hypernetworks_mlps = hypernetwork(rngs.split(candidates))  # one per candidate, side by side
        self.iou_prediction_head = Mlp((width, cfg.iou_head_width, cfg.iou_head_width, candidates), rngs)
        self.pred_obj_score_head = Mlp((width, width, width, 1), rngs)

    def high_res(self, level0: jax.Array, level1: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Pyramid levels [n, 4g, 4g, c], [n, 2g, 2g, c] -> what upscaling adds: c / 8 and c / 4 channels."""
        return pointwise(self.conv_s0, level0), pointwise(self.conv_s1, level1)

    def __call__(
        self, image: jax.Array, position: jax.Array, sparse: jax.Array, high_res: tuple[jax.Array, jax.Array]
    ) -> Masks:
        """All candidates of every object.

        Args:
          image: [..., g, g, width], the dense prompt already added.
          position: [g, g, width], the encoding of the cells.
          sparse: [..., tokens, width]; its leading axes are the objects. Where an image is shared by
            objects its leading axis is 1.
          high_res: [..., 4g, 4g, width / 8] and [..., 2g, 2g, width / 4].
        """
        grid = image.shape[-3:-1]
        cells = image.reshape(*image.shape[:-3], grid[0] * grid[1], -1)
        tokens, cells = self.transformer(self._with_output_tokens(sparse), cells, position.reshape(cells.shape[-2:]))
        upscaled = self._upscale(cells.reshape(*cells.shape[:-2], *grid, -1), high_res)
        mask_tokens = tokens[..., 2 : 2 + self.candidates, :]
        kernels = jax.vmap(lambda mlp, x: mlp(x), in_axes=(0, -2), out_axes=-2)(
            self.output_hypernetworks_mlps, mask_tokens
        )
        logits = jnp.einsum("...mc,...hwc->...mhw", kernels, upscaled, preferred_element_type=jnp.float32)
        iou = jax.nn.sigmoid(self.iou_prediction_head(tokens[..., 1, :]).astype(jnp.float32))
        score = self.pred_obj_score_head(tokens[..., 0, :])[..., 0].astype(jnp.float32)
        return Masks(logits, iou, mask_tokens, score)

    def _with_output_tokens(self, sparse: jax.Array) -> jax.Array:
        """Object score, quality and mask tokens in front of the prompt's."""
        own = [t.embedding[...] for t in (self.obj_score_token, self.iou_token, self.mask_tokens)]
        own = jnp.concatenate(own).astype(sparse.dtype)
        return jnp.concatenate([jnp.broadcast_to(own, (*sparse.shape[:-2], *own.shape)), sparse], axis=-2)

    def _upscale(self, image: jax.Array, high_res: tuple[jax.Array, jax.Array]) -> jax.Array:
        """[..., g, g, width] -> [..., 4g, 4g, width / 8]."""
        first, norm, activation, second = self.output_upscaling
        fine, middle = high_res
        x = activation(norm(unpatch(first, image) + middle))
        return activation(unpatch(second, x) + fine)
