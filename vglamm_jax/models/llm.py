"""Decoder-only language model: Phi-3 and the Llama family, by configuration (facts 1.6).

Prompts of a batch are padded on the left, so that all rows write the same slot of the cache: a row's
position is its slot minus its padding, and the sliding window may be measured in slots.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vglamm_jax.config import LlmConfig
from vglamm_jax.models import layers, lora
from vglamm_jax.models.activations import gated
from vglamm_jax.models.attention import attention, cached_attention
from vglamm_jax.sharding import BATCH, shard

NO_TOKEN = float(np.finfo(np.float32).min)  # logit of the rows that only pad the vocabulary

Rope = tuple[jax.Array, jax.Array]  # cos and sin, float32 [B, S, 1, head_dim / 2]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KVCache:
    """Keys and values of the slots written so far; `index` (int32 scalar) is the next slot.

    `k`, `v` are one array [layers, B, capacity, KV, head_dim] beside stacked blocks, carried whole through the
    scan over layers and updated in place. Beside a list of blocks they are tuples of [B * KV, head_dim, capacity]:
    slots last is what a CPU multiplies with as it stands, 8 times faster than the other order.
    """

    k: jax.Array | tuple[jax.Array, ...]
    v: jax.Array | tuple[jax.Array, ...]
    index: jax.Array

    @property
    def capacity(self) -> int:
        return self.k[0].shape[-1] if self.slots_last else self.k.shape[2]

    @property
    def slots_last(self) -> bool:
        return isinstance(self.k, tuple)

    def write(self, layer: int | jax.Array, k: jax.Array, v: jax.Array) -> "KVCache":
        """With rows [B, S, KV, head_dim] of one layer put at `index`, which stays."""
        k, v = (_put(whole, layer, self.index, rows) for whole, rows in ((self.k, k), (self.v, v)))
        return dataclasses.replace(self, k=k, v=v)


def _put(whole, layer, index, rows):
    if not isinstance(whole, tuple):
        return jax.lax.dynamic_update_slice(whole, rows[None].astype(whole.dtype), (layer, 0, index, 0, 0))
    columns = rows.transpose(0, 2, 3, 1).reshape(-1, rows.shape[-1], rows.shape[1])
    new = jax.lax.dynamic_update_slice(whole[layer], columns.astype(whole[layer].dtype), (0, 0, index))
    return (*whole[:layer], new, *whole[layer + 1 :])


def rope_frequencies(cfg: LlmConfig) -> np.ndarray:
    """Radians per position, float32 [head_dim / 2]; Llama-3 scaling where configured."""
    exponents = np.arange(0, cfg.head_dim, 2, dtype=np.float32) / np.float32(cfg.head_dim)
    freqs = np.float32(1.0) / np.float32(cfg.rope_theta) ** exponents
    scaling = cfg.rope_scaling
    if scaling is None:
        return freqs
    turns = scaling.original_max_positions * freqs / (2 * np.pi)  # over the original context
    keep = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    keep = np.clip(keep, 0, 1)
    return (freqs * (keep + (1 - keep) / scaling.factor)).astype(np.float32)


def rope_angles(cfg: LlmConfig, positions: jax.Array) -> Rope:
    angles = positions[..., None, None].astype(jnp.float32) * rope_frequencies(cfg)
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x: jax.Array, rope: Rope) -> jax.Array:
    """Rotate-half RoPE of [B, S, heads, head_dim]."""
    cos, sin = (r.astype(x.dtype) for r in rope)
    return jax.lax.platform_dependent(x, cos, sin, tpu=_rotate_by_product, default=_rotate_by_halves)


def _rotate_by_halves(x, cos, sin):
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def _rotate_by_product(x, cos, sin):
    """The halves change places by a product with zeros and ones, which is exact: lanes of a TPU move slowly."""
    half = x.shape[-1] // 2
    swap = np.zeros((2 * half, 2 * half), np.float32)
    swap[np.arange(half) + half, np.arange(half)] = -1
    swap[np.arange(half), np.arange(half) + half] = 1
    swapped = jnp.einsum("bshd,de->bshe", x, jnp.asarray(swap, x.dtype), precision=jax.lax.Precision.HIGHEST)
    return x * jnp.tile(cos, 2) + swapped * jnp.tile(sin, 2)


class Attention(nnx.Module):
    def __init__(self, cfg: LlmConfig, rngs: nnx.Rngs):
        self.cfg = cfg
        if cfg.fused:
            self.qkv_proj = lora.linear(cfg, "self_attn.qkv_proj", rngs)
        else:
            self.q_proj = lora.linear(cfg, "self_attn.q_proj", rngs)
            self.k_proj = lora.linear(cfg, "self_attn.k_proj", rngs)
            self.v_proj = lora.linear(cfg, "self_attn.v_proj", rngs)
        self.o_proj = lora.linear(cfg, "self_attn.o_proj", rngs)

    def project(self, x: jax.Array, dropout: jax.Array | None = None) -> list[jax.Array]:
        """[B, S, width] -> q [B, S, heads, head_dim] and k, v [B, S, kv_heads, head_dim]."""
        cfg = self.cfg
        if cfg.fused:
            queries, keys = cfg.heads * cfg.head_dim, cfg.kv_heads * cfg.head_dim
            qkv = lora.apply_cut(self.qkv_proj, x, (queries, keys, keys), dropout, cfg.head_dim)
        else:
            qkv = [lora.apply(matrix, x, dropout) for matrix in (self.q_proj, self.k_proj, self.v_proj)]
            qkv = [y.reshape(*x.shape[:2], -1, cfg.head_dim) for y in qkv]
        return [shard(y, BATCH, None, "tensor") for y in qkv]

    def __call__(self, x, rope, key_valid, cache=None, layer=0, prefill=True, dropout=None):
        q, k, v = self.project(x, dropout)
        q, k = rotate(q, rope), rotate(k, rope)
        if cache is not None:
            cache = cache.write(layer, k, v)
        rule = {"key_valid": key_valid, "window": self.cfg.window}
        if cache is None or prefill:
            out = attention(q, k, v, causal=True, **rule)
        elif cache.slots_last:
            out = cached_attention(q, cache.k[layer], cache.v[layer], q_offset=cache.index, **rule)
        else:
            out = attention(q, cache.k[layer], cache.v[layer], causal=True, q_offset=cache.index, **rule)
        return lora.apply_joined(self.o_proj, out, dropout), cache


class Mlp(nnx.Module):
    def __init__(self, cfg: LlmConfig, rngs: nnx.Rngs):
        self.fused, self.width = cfg.fused, cfg.mlp_width
        if cfg.fused:
            self.gate_up_proj = lora.linear(cfg, "mlp.gate_up_proj", rngs)
        else:
            self.gate_proj = lora.linear(cfg, "mlp.gate_proj", rngs)
            self.up_proj = lora.linear(cfg, "mlp.up_proj", rngs)
        self.down_proj = lora.linear(cfg, "mlp.down_proj", rngs)

    def __call__(self, x: jax.Array, dropout: jax.Array | None = None) -> jax.Array:
        if self.fused:
            gate, up = lora.apply_cut(self.gate_up_proj, x, (self.width, self.width), dropout)
        else:
            gate, up = (lora.apply(matrix, x, dropout) for matrix in (self.gate_proj, self.up_proj))
        return lora.apply(self.down_proj, shard(gated(gate, up), BATCH, None, "tensor"), dropout)


class Block(nnx.Module):
    def __init__(self, cfg: LlmConfig, rngs: nnx.Rngs):
        self.input_layernorm = nnx.RMSNorm(cfg.width, epsilon=cfg.norm_eps, rngs=rngs)
        self.self_attn = Attention(cfg, rngs)
        self.post_attention_layernorm = nnx.RMSNorm(cfg.width, epsilon=cfg.norm_eps, rngs=rngs)
        self.mlp = Mlp(cfg, rngs)

    def __call__(self, x, *args, dropout=None, **kwargs):
        x = shard(x, BATCH)
        out, cache = self.self_attn(_alone(self.input_layernorm(x)), *args, dropout=dropout, **kwargs)
        x = x + out
        return x + self.mlp(_alone(self.post_attention_layernorm(x)), dropout), cache


def _pieces(cfg: LlmConfig) -> dict[str, tuple[int, ...]]:
    """The columns by which fused kernels are used."""
    if not cfg.fused:
        return {}
    queries, keys = cfg.heads * cfg.head_dim, cfg.kv_heads * cfg.head_dim
    return {"qkv_proj/kernel": (queries, keys, keys), "gate_up_proj/kernel": (cfg.mlp_width, cfg.mlp_width)}


@jax.custom_jvp
def _alone(x: jax.Array) -> jax.Array:
    """x as an array of its own: XLA would compute it again within each product that takes it."""
    return jax.lax.optimization_barrier(x)


@_alone.defjvp
def _alone_jvp(x, dx):
    return _alone(*x), dx[0]


class CausalLM(nnx.Module):
    """Embedding table, blocks, final norm and head. Raises ValueError where heads do not share keys evenly."""

    def __init__(self, cfg: LlmConfig, rngs: nnx.Rngs):
        if cfg.heads % cfg.kv_heads:
            raise ValueError(f"llm.heads={cfg.heads} must be a multiple of llm.kv_heads={cfg.kv_heads}")
        self.cfg = cfg
        normal = nnx.initializers.normal(0.02)
        self.embed_tokens = nnx.Embed(cfg.padded_vocab, cfg.width, embedding_init=normal, rngs=rngs)
        self.blocks = layers.stack(lambda r: Block(cfg, r), cfg.depth, rngs)
        self.norm = nnx.RMSNorm(cfg.width, epsilon=cfg.norm_eps, rngs=rngs)
        if not cfg.tie_embeddings:
            self.lm_head = nnx.Linear(cfg.width, cfg.padded_vocab, use_bias=False, kernel_init=normal, rngs=rngs)

    def embed(self, ids: jax.Array) -> jax.Array:
        """Token ids [B, S] -> embeddings [B, S, width]."""
        return jnp.take(self.embed_tokens.embedding[...], ids, axis=0)  # nnx.Embed would return float32

    def empty_cache(self, batch: int, capacity: int) -> KVCache:
        """A cache of `capacity` slots in the form these blocks run fastest with, in their dtype."""
        cfg = self.cfg
        dtype = self.norm.scale[...].dtype
        if isinstance(self.blocks, nnx.List):
            shape = (batch * cfg.kv_heads, cfg.head_dim, capacity)
            k, v = (tuple(jnp.zeros(shape, dtype) for _ in range(cfg.depth)) for _ in "kv")
        else:
            shape = (cfg.depth, batch, capacity, cfg.kv_heads, cfg.head_dim)
            k, v = (shard(jnp.zeros(shape, dtype), None, BATCH, None, "tensor") for _ in "kv")
        return KVCache(k, v, jnp.int32(0))

    def __call__(
        self,
        embeds: jax.Array,
        positions: jax.Array,
        key_valid: jax.Array | None = None,
        cache: KVCache | None = None,
        *,
        prefill: bool = False,
        remat: layers.Remat = False,
        gather: bool = False,
        dropout: jax.Array | None = None,
    ) -> tuple[jax.Array, KVCache | None]:
        """Embeddings [B, S, width] -> hidden states after the final norm [B, S, width], and the cache.

        Args:
          embeds: inputs, in the dtype to compute in.
          positions: int [B, S], for RoPE; negative in the padding.
          key_valid: bool [B, keys], False for padding; keys are the S rows, or (then needed) all slots of a cache.
          cache: where keys and values go, from its `index` on, which moves on by S.
          prefill: the cache is empty, so that the S rows are all there is to attend to.
          remat: recompute each block's activations in the backward pass; "dots" keeps its matrix products.
          gather: see `layers.run`; for training, where rows are many more than those of a matrix.
          dropout: key for the dropout of LoRA, or one for each row; None = none. Training alone has a use for it, so
            not with a cache.

        Raises:
          ValueError: dropout with a cache.
        """
        rope = rope_angles(self.cfg, positions)
        if cache is None:

            def apply(block, carry):
                x, layer = carry
                key = None if dropout is None else lora.folded(dropout, layer)
                return block(x, rope, key_valid, dropout=key)[0], layer + 1

            gather = _pieces(self.cfg) if gather else None
            return self.norm(layers.run(self.blocks, (embeds, 0), apply, remat=remat, gather=gather)[0]), None

        if dropout is not None:
            raise ValueError("dropout is for training: it does not go with a cache")

        def step(block, carry):
            x, cache, layer = carry
            return *block(x, rope, key_valid, cache, layer, prefill), layer + 1

        x, cache, _ = layers.run(self.blocks, (embeds, cache, 0), step)
        return self.norm(x), dataclasses.replace(cache, index=cache.index + embeds.shape[1])

    @property
    def head(self) -> jax.Array:
        """What gives the logits: [width, padded_vocab], or the table of embeddings where that is tied to it."""
        return self.embed_tokens.embedding[...] if self.cfg.tie_embeddings else self.lm_head.kernel[...]

    def logits(self, hidden: jax.Array) -> jax.Array:
        """[..., width] -> float32 [..., padded_vocab]; see `scores`."""
        return scores(self.cfg, hidden, self.head)


def scores(cfg: LlmConfig, hidden: jax.Array, head: jax.Array) -> jax.Array:
    """Logits, float32 [..., padded_vocab], of hidden [..., width]; rows beyond the vocabulary can never be chosen."""
    contract = (((hidden.ndim - 1,), (1 if cfg.tie_embeddings else 0,)), ((), ()))
    logits = jax.lax.dot_general(hidden, head, contract, preferred_element_type=jnp.float32)
    return jnp.where(jnp.arange(cfg.padded_vocab) < cfg.vocab, logits, NO_TOKEN)
