"""CLIP's vision transformer, the spatial encoder (facts 1.2): one image in, one feature per patch out."""

import jax
import jax.numpy as jnp
from flax import nnx

from vglamm_jax.config import ClipConfig
from vglamm_jax.models import layers
from vglamm_jax.models.activations import gelu, quick_gelu
from vglamm_jax.models.attention import attention, padded_tokens
from vglamm_jax.sharding import BATCH, shard

ACTIVATIONS = {"quick_gelu": quick_gelu, "gelu": gelu}


def patches(images: jax.Array, size: int) -> jax.Array:
    """[N, H, W, C] -> [N, (H / size) * (W / size), size * size * C], patches and their pixels row-major.

    A matrix product with these rows is the convolution whose stride equals its kernel.
    """
    n, height, width, channels = images.shape
    x = images.reshape(n, height // size, size, width // size, size, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, -1, size * size * channels)


class Attention(nnx.Module):
    def __init__(self, cfg: ClipConfig, rngs: nnx.Rngs):
        self.heads = cfg.heads
        self.q_proj = nnx.Linear(cfg.width, cfg.width, rngs=rngs)
        self.k_proj = nnx.Linear(cfg.width, cfg.width, rngs=rngs)
        self.v_proj = nnx.Linear(cfg.width, cfg.width, rngs=rngs)
        self.out_proj = nnx.Linear(cfg.width, cfg.width, rngs=rngs)

    def __call__(self, x: jax.Array, key_valid: jax.Array | None = None) -> jax.Array:
        q, k, v = (
            shard(proj(x).reshape(*x.shape[:2], self.heads, -1), BATCH, None, "tensor")
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(attention(q, k, v, key_valid=key_valid).reshape(x.shape))


class Mlp(nnx.Module):
    def __init__(self, cfg: ClipConfig, rngs: nnx.Rngs):
        self.activation = cfg.activation
        self.fc1 = nnx.Linear(cfg.width, cfg.mlp_width, rngs=rngs)
        self.fc2 = nnx.Linear(cfg.mlp_width, cfg.width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.fc2(ACTIVATIONS[self.activation](shard(self.fc1(x), BATCH, None, "tensor")))


class Block(nnx.Module):
    def __init__(self, cfg: ClipConfig, rngs: nnx.Rngs):
        self.layer_norm1 = nnx.LayerNorm(cfg.width, epsilon=cfg.norm_eps, rngs=rngs)
        self.self_attn = Attention(cfg, rngs)
        self.layer_norm2 = nnx.LayerNorm(cfg.width, epsilon=cfg.norm_eps, rngs=rngs)
        self.mlp = Mlp(cfg, rngs)

    def __call__(self, x: jax.Array, key_valid: jax.Array | None = None) -> jax.Array:
        x = shard(x, BATCH)
        x = x + self.self_attn(self.layer_norm1(x), key_valid)
        return x + self.mlp(self.layer_norm2(x))


class ClipVision(nnx.Module):
    """Runs only the blocks up to the selected hidden state; the checkpoint's later ones do not exist here."""

    def __init__(self, cfg: ClipConfig, rngs: nnx.Rngs):
        self.cfg = cfg
        size = (cfg.patch_size, cfg.patch_size)
        normal = nnx.initializers.normal(0.02)
        self.class_embedding = nnx.Param(normal(rngs.params(), (cfg.width,)))
        self.patch_embedding = nnx.Conv(3, cfg.width, size, strides=size, padding="VALID", use_bias=False, rngs=rngs)
        self.position_embedding = nnx.Embed(cfg.grid**2 + 1, cfg.width, embedding_init=normal, rngs=rngs)
        self.pre_layernorm = nnx.LayerNorm(cfg.width, epsilon=cfg.norm_eps, rngs=rngs)
        self.blocks = layers.stack(lambda r: Block(cfg, r), cfg.blocks_run, rngs)

    def embed(self, images: jax.Array) -> jax.Array:
        """[N, S, S, 3] -> [N, 1 + grid * grid, width], the class embedding first."""
        kernel = self.patch_embedding.kernel[...].reshape(-1, self.cfg.width)
        x = patches(images, self.cfg.patch_size).astype(kernel.dtype) @ kernel
        first = jnp.broadcast_to(self.class_embedding[...], (len(x), 1, self.cfg.width))
        x = jnp.concatenate([first.astype(x.dtype), x], axis=1) + self.position_embedding.embedding[...]
        return self.pre_layernorm(x)

    def __call__(self, images: jax.Array, *, remat: bool = False, gather: bool = False) -> jax.Array:
        """Normalised images [N, S, S, 3] -> the selected hidden state without CLS, [N, grid * grid, width].

        `gather` is for training, see `layers.run`. Raises ValueError if an image does not have the size the position
        table was made for.
        """
        side = self.cfg.image_size
        if images.shape[1:] != (side, side, 3):
            raise ValueError(f"CLIP takes images [N, {side}, {side}, 3], got {list(images.shape)}: crop first")
        x = self.embed(images)
        count = x.shape[1]
        x, real = padded_tokens(x) if gather else (x, None)
        x = layers.run(self.blocks, x, lambda block, x: block(x, real), remat=remat, gather={} if gather else None)
        return x[:, 1:count]
