"""The language model against PyTorch's Phi-3 and Llama, and its cache against full recomputation."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vglamm_jax.config import LlmConfig, RopeScaling
from vglamm_jax.models import layers
from vglamm_jax.models.llm import NO_TOKEN, CausalLM

PHI3 = LlmConfig(
    vocab=100, width=32, depth=3, heads=4, kv_heads=2, head_dim=8, mlp_width=48,
    max_positions=256, window=7, fused=True,
)  # fmt: skip
LLAMA = LlmConfig(
    vocab=120, width=32, depth=2, heads=4, kv_heads=2, head_dim=16, mlp_width=40, max_positions=256,
    rope_theta=500.0, tie_embeddings=True,
    rope_scaling=RopeScaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_positions=64),
)  # fmt: skip


@functools.cache
def made(cfg):
    return jax.jit(lambda: CausalLM(cfg, nnx.Rngs(0)))()


def build(cfg):
    """A fresh module each time (tests write into it), compiled once per configuration."""
    return jax.tree.map(lambda x: x, made(cfg))


forward = jax.jit(lambda llm, *args, **kwargs: llm(*args, **kwargs), static_argnames=("prefill", "remat"))


def positions_of(valid):
    return jnp.cumsum(valid, axis=1) - 1


def torch_model(cfg):
    torch = pytest.importorskip("torch", reason="the reference runs in PyTorch: pip install -e .[torch]")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    common = {
        "vocab_size": cfg.vocab, "hidden_size": cfg.width, "num_hidden_layers": cfg.depth,
        "num_attention_heads": cfg.heads,
        "num_key_value_heads": cfg.kv_heads, "head_dim": cfg.head_dim, "intermediate_size": cfg.mlp_width,
        "max_position_embeddings": cfg.max_positions, "rms_norm_eps": cfg.norm_eps, "initializer_range": 0.3,
        "tie_word_embeddings": cfg.tie_embeddings, "pad_token_id": 0,
    }  # fmt: skip
    rope = {"rope_type": "default", "rope_theta": cfg.rope_theta}
    if cfg.rope_scaling:
        s = cfg.rope_scaling
        rope |= {"rope_type": "llama3", "factor": s.factor, "low_freq_factor": s.low_freq_factor}
        rope |= {"high_freq_factor": s.high_freq_factor, "original_max_position_embeddings": s.original_max_positions}
    if cfg.fused:
        config = transformers.Phi3Config(**common, rope_parameters=rope, sliding_window=cfg.window)
        return transformers.Phi3ForCausalLM(config).eval()
    config = transformers.LlamaConfig(**common, rope_parameters=rope)
    return transformers.LlamaForCausalLM(config).eval()


def copy_weights(model, llm):
    """Puts PyTorch's parameters into `llm` (stacked), by name."""
    weights = {name: p.detach().numpy() for name, p in model.named_parameters()}
    table = llm.embed_tokens.embedding[...]
    vocab = llm.cfg.vocab
    llm.embed_tokens.embedding[...] = table.at[:vocab].set(weights.pop("model.embed_tokens.weight"))
    llm.norm.scale[...] = jnp.asarray(weights.pop("model.norm.weight"))
    if not llm.cfg.tie_embeddings:
        head = llm.lm_head.kernel[...]
        llm.lm_head.kernel[...] = head.at[:, :vocab].set(weights.pop("lm_head.weight").T)
    for path, _param in nnx.to_flat_state(nnx.state(llm.blocks)):
        *names, leaf = path
        key = ".".join(map(str, names)) + ".weight"
        parts = [weights.pop(f"model.layers.{i}.{key}") for i in range(llm.cfg.depth)]
        target = llm.blocks
        for name in names:
            target = getattr(target, name)
        getattr(target, leaf)[...] = jnp.asarray(np.stack([w.T if leaf == "kernel" else w for w in parts]))
    assert not weights, f"not copied: {sorted(weights)}"
    return llm


@pytest.mark.parametrize("cfg", [PHI3, LLAMA], ids=["phi3", "llama"])
@pytest.mark.parametrize("padding", [0, 5])
def test_equals_pytorch(cfg, padding):
    model = torch_model(cfg)
    import torch

    llm = copy_weights(model, build(cfg))
    ids = np.random.default_rng(1).integers(0, cfg.vocab, (2, 40))
    valid = np.arange(40) >= np.array([[0], [padding]])
    positions = positions_of(valid)
    with torch.no_grad():
        out = model(
            torch.tensor(ids), attention_mask=torch.tensor(valid), output_hidden_states=True,
            position_ids=torch.tensor(np.maximum(positions, 0)),
        )  # fmt: skip
    hidden, _ = forward(llm, llm.embed(jnp.asarray(ids)), positions, jnp.asarray(valid))
    logits = llm.logits(hidden)
    theirs = out.hidden_states[-1].numpy(), out.logits.numpy()
    for ours, expected in zip((hidden, logits[..., : cfg.vocab]), theirs, strict=True):
        error = np.abs(np.asarray(ours) - expected)[valid].max() / np.abs(expected[valid]).max()
        assert error < 1e-5
    assert (logits[..., cfg.vocab :] == NO_TOKEN).all()


def test_window_counts_the_query_itself():
    """With a window of one key no token sees another, so each row depends on its own token alone."""
    llm = build(dataclasses.replace(PHI3, window=1))
    ids = jnp.array([[5, 6, 7], [9, 8, 7]])
    hidden, _ = forward(llm, llm.embed(ids), jnp.arange(3)[None])
    np.testing.assert_allclose(hidden[0, 2], hidden[1, 2], atol=1e-6)
    wider, _ = forward(build(dataclasses.replace(PHI3, window=2)), llm.embed(ids), jnp.arange(3)[None])
    assert jnp.abs(wider[0, 2] - wider[1, 2]).max() > 1e-3


@pytest.mark.parametrize("cfg", [PHI3, LLAMA], ids=["phi3", "llama"])
@pytest.mark.parametrize("listed", [False, True])
def test_cache_equals_full_recomputation(cfg, listed):
    llm = build(cfg)
    embeds = llm.embed(jax.random.randint(jax.random.key(1), (2, 30), 0, cfg.vocab))
    valid = jnp.arange(30) >= jnp.array([[0], [4]])
    positions = positions_of(valid)
    full, _ = forward(llm, embeds, positions, valid)
    if listed:
        llm.blocks = layers.unstack(llm.blocks)
    cache = llm.empty_cache(2, 36)
    slots_valid = jnp.arange(36) >= jnp.array([[0], [4]])
    part, cache = forward(llm, embeds[:, :20], positions[:, :20], valid[:, :20], cache, prefill=True)
    parts = [part]
    for first, last in [(20, 21), (21, 22), (22, 29), (29, 30)]:
        part, cache = forward(llm, embeds[:, first:last], positions[:, first:last], slots_valid, cache)
        parts.append(part)
    assert int(cache.index) == 30 and cache.capacity == 36
    cached = jnp.concatenate(parts, axis=1)
    np.testing.assert_allclose(cached[valid], full[valid], atol=2e-5)


def test_remat_and_list_change_nothing():
    llm = build(LLAMA)
    embeds = llm.embed(jnp.arange(24).reshape(2, 12))
    positions = jnp.broadcast_to(jnp.arange(12), (2, 12))

    @functools.partial(jax.jit, static_argnames="remat")
    @functools.partial(jax.value_and_grad, argnums=1)
    def loss(llm, embeds, remat=False):
        return (llm(embeds, positions, remat=remat)[0] ** 2).mean()

    plain, recomputed = loss(llm, embeds), loss(llm, embeds, remat=True)
    llm.blocks = layers.unstack(llm.blocks)
    listed = loss(llm, embeds)
    for other in (recomputed, listed):
        np.testing.assert_allclose(other[0], plain[0], rtol=1e-6)
        np.testing.assert_allclose(other[1], plain[1], atol=1e-5)


def test_bfloat16_stays_bfloat16_with_float32_logits():
    llm = build(PHI3)
    llm = jax.tree.map(lambda p: p.astype(jnp.bfloat16), llm)
    hidden, cache = forward(
        llm, llm.embed(jnp.ones((1, 8), int)), jnp.arange(8)[None], None, llm.empty_cache(1, 8), prefill=True
    )
    assert hidden.dtype == cache.k.dtype == jnp.bfloat16
    assert llm.logits(hidden).dtype == jnp.float32


def test_uneven_heads_are_refused():
    with pytest.raises(ValueError, match="multiple of llm"):
        CausalLM(dataclasses.replace(PHI3, kv_heads=3), nnx.Rngs(0))
