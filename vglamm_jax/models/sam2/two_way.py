"""The mask decoder's transformer: tokens and image cells attend to each other in turn."""

import jax
from flax import nnx

from vglamm_jax.config import Sam2Config
from vglamm_jax.models.sam2.convolution import LayerNorm
from vglamm_jax.models.sam2.cross_attention import CrossAttention
from vglamm_jax.models.sam2.mlp import Mlp

NORM_EPS = 1e-5


def _attention(cfg: Sam2Config, rngs: nnx.Rngs, downsample: int = 2) -> CrossAttention:
    return CrossAttention(cfg.width, cfg.width, cfg.width // downsample, cfg.decoder_heads, rngs)


class TwoWayBlock(nnx.Module):
    """Self-attention of tokens, tokens to image, MLP, image to tokens; a norm after each."""

    def __init__(self, cfg: Sam2Config, first: bool, rngs: nnx.Rngs):
        self.first = first
        self.self_attn = _attention(cfg, rngs, downsample=1)
        self.norm1 = LayerNorm(cfg.width, epsilon=NORM_EPS, rngs=rngs)
        self.cross_attn_token_to_image = _attention(cfg, rngs)
        self.norm2 = LayerNorm(cfg.width, epsilon=NORM_EPS, rngs=rngs)
        self.mlp = Mlp((cfg.width, cfg.decoder_mlp, cfg.width), rngs)
        self.norm3 = LayerNorm(cfg.width, epsilon=NORM_EPS, rngs=rngs)
        self.norm4 = LayerNorm(cfg.width, epsilon=NORM_EPS, rngs=rngs)
        self.cross_attn_image_to_token = _attention(cfg, rngs)

    def __call__(
        self, tokens: jax.Array, image: jax.Array, token_position: jax.Array, image_position: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Tokens [..., t, width], image [..., cells, width] and their position encodings -> new tokens and image."""
        if self.first:  # the tokens still are their own encoding, and have no residual to add to
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            q = tokens + token_position
            tokens = tokens + self.self_attn(q, q, tokens)
        tokens = self.norm1(tokens)
        located = image + image_position
        tokens = tokens + self.cross_attn_token_to_image(tokens + token_position, located, image)
        tokens = self.norm2(tokens)
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = image + self.cross_attn_image_to_token(located, tokens + token_position, tokens)
        return tokens, self.norm4(image)


class TwoWayTransformer(nnx.Module):
    def __init__(self, cfg: Sam2Config, rngs: nnx.Rngs):
        self.layers = nnx.List([TwoWayBlock(cfg, i == 0, rngs) for i in range(cfg.decoder_depth)])
        self.final_attn_token_to_image = _attention(cfg, rngs)
        self.norm_final_attn = LayerNorm(cfg.width, epsilon=NORM_EPS, rngs=rngs)

    def __call__(self, tokens: jax.Array, image: jax.Array, image_position: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Tokens [..., t, width], image [..., cells, width] (leading axes may broadcast) -> both, transformed."""
        position = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, position, image_position)
        tokens = tokens + self.final_attn_token_to_image(tokens + position, image + image_position, image)
        return self.norm_final_attn(tokens), image
