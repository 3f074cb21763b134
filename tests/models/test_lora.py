"""LoRA in the language model: no effect at the start, the documented formula, and merged equal to un-merged."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny_llm import LLAMA, PHI3

from vglamm_jax import sharding
from vglamm_jax.config import LoraConfig, load_config
from vglamm_jax.models import layers, lora
from vglamm_jax.models.adapters import SegProjector
from vglamm_jax.models.llm import CausalLM

ADAPTED = LoraConfig(rank=4, alpha=8, targets=("qkv_proj", "down_proj"), dropout=0.5)
CFG = dataclasses.replace(PHI3, lora=ADAPTED)
IDS = jnp.arange(24).reshape(2, 12)


KEY = jax.random.key(5, impl="unsafe_rbg")  # compiles several times faster on a CPU


def made(cfg=CFG, effect=0.0):
    """A model with fixed weights; factors that have an effect only if told so."""
    rng = np.random.default_rng(0)

    def value(path, leaf):
        name = sharding.path_name(path)
        scale = effect if name.endswith("lora_b") else 1 / leaf.shape[-2] ** 0.5 if len(leaf.shape) > 2 else 1
        return jnp.asarray(rng.normal(size=leaf.shape) * scale, jnp.float32)

    return jax.tree_util.tree_map_with_path(value, abstract(cfg))


def abstract(cfg):
    return layers.abstract(CausalLM, cfg)


def trained():
    return made(effect=0.5)


def with_factors(model, change):
    graph, factors, rest = nnx.split(model, lora.LoRAParam, ...)
    return nnx.merge(graph, jax.tree.map(change, factors), rest)


quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def forward(llm, dropout=None, remat=False):
    return llm(llm.embed(IDS), jnp.arange(12)[None], dropout=dropout, remat=remat)[0]


hidden = quick(forward)


def assert_near(a, b):
    np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(b).max())


def test_starts_as_torch_does_and_without_effect():
    cfg = dataclasses.replace(ADAPTED, rank=50)
    stack = quick(lambda: layers.stack(lambda rngs: lora.LoRALinear(400, 3, cfg, 0, rngs=rngs), 2, nnx.Rngs(KEY)))()
    a, b = np.asarray(stack.lora_a[...]), np.asarray(stack.lora_b[...])
    assert a.shape == (2, 400, 50) and b.shape == (2, 50, 3) and not b.any()
    assert 0.0499 < np.abs(a).max() <= 0.05 and abs(a.std() - 0.05 / 3**0.5) < 0.0005  # uniform, 1 / sqrt(400)
    assert np.abs(a[0] - a[1]).max() > 0.05
    assert type(abstract(CFG).blocks.self_attn.o_proj) is nnx.Linear


def test_factors_are_found_before_parameters():
    state = nnx.split(made(), lora.LoRAParam, nnx.Param)[1]
    assert sum(p.size for p in jax.tree.leaves(state)) == 2 * (4 * (32 + 64) + 4 * (40 + 32))


def matrix_of(cfg, salt=0, kernel=1.0):
    """[5, 7] and factors of numbers that are not random for the test."""
    matrix = nnx.eval_shape(lambda: lora.LoRALinear(5, 7, cfg, salt, rngs=nnx.Rngs(0)))
    rng = np.random.default_rng(0)
    values = [jnp.asarray(rng.normal(size=p.shape), jnp.float32) for p in jax.tree.leaves(matrix)]
    matrix = jax.tree.unflatten(jax.tree.structure(matrix), values)
    matrix.kernel[...] *= kernel
    return matrix


@pytest.mark.parametrize("rslora", [False, True])
def test_formula(rslora):
    matrix = matrix_of(dataclasses.replace(ADAPTED, rslora=rslora, alpha=6, dropout=0.0))
    x = np.random.default_rng(1).normal(size=(3, 5))
    w, a, b = (np.asarray(p[...], np.float64) for p in (matrix.kernel, matrix.lora_a, matrix.lora_b))
    wanted = x @ w + x @ a @ b * (3 if rslora else 1.5)
    np.testing.assert_allclose(matrix(jnp.asarray(x, jnp.float32)), wanted, atol=1e-5)
    np.testing.assert_allclose(matrix(jnp.asarray(x, jnp.float32), KEY), wanted, atol=1e-5)  # a rate of zero


def test_dropout_hits_the_factors_alone_and_keeps_the_mean():
    x = np.ones((20000, 5), np.float32)
    apply = jax.jit(lambda matrix, key=None: matrix(x, key))
    none, one, other = (matrix_of(ADAPTED, salt, kernel=0) for salt in (0, 0, 1))
    whole, one, other = (np.asarray(apply(m, KEY)) for m in (matrix_of(ADAPTED), one, other))
    np.testing.assert_allclose(whole - x @ np.asarray(matrix_of(ADAPTED).kernel[...]), one, atol=1e-4)
    np.testing.assert_allclose(one.mean(0), apply(none)[0], atol=0.25)
    assert np.abs(one[0] - one[1]).max() > 0.1 and np.abs(one - other).max() > 0.1


def test_with_a_key_for_each_row_it_does_not_matter_beside_which_others_a_row_is():
    llm, keys = trained(), jax.random.split(jax.random.key(0, impl="threefry2x32"), len(IDS))  # rbg would mix rows
    turned = llm.embed(IDS[::-1])
    found = quick(lambda keys: llm(turned, jnp.arange(12)[None], dropout=keys)[0])(keys[::-1])
    dropped = hidden(llm, keys)
    assert_near(found[::-1], dropped)
    assert jnp.abs(dropped - hidden(llm, KEY)).max() > 0.1


@functools.partial(quick, static_argnums=1)
@jax.value_and_grad
def mean_cube(factors, graph, rest):
    return (forward(nnx.merge(graph, factors, rest), KEY, remat=True) ** 3).mean()


def test_scan_list_and_remat_drop_the_same():
    llm = trained()
    dropped = hidden(llm, KEY)
    assert jnp.abs(dropped - hidden(llm)).max() > 0.1
    graph, factors, rest = nnx.split(llm, lora.LoRAParam, ...)
    assert_near(mean_cube(factors, graph, rest)[0], (dropped**3).mean())
    llm.blocks = layers.unstack(llm.blocks)
    assert_near(hidden(llm, KEY), dropped)
    with pytest.raises(ValueError, match="does not go with a cache"):
        llm(llm.embed(IDS), IDS, None, llm.empty_cache(2, 12), dropout=KEY)


def test_every_factor_gets_a_gradient():
    """At the start A has none, because B is zero; later both have."""

    def gradients(llm):
        graph, factors, rest = nnx.split(llm, lora.LoRAParam, ...)
        return jax.tree_util.tree_leaves_with_path(mean_cube(factors, graph, rest)[1])

    assert all(bool(jnp.abs(leaf).max() > 0) == ("lora_b" in str(path)) for path, leaf in gradients(made()))
    assert all(jnp.abs(leaf).max() > 0 for _, leaf in gradients(trained()))


@pytest.mark.parametrize("listed", [False, True])
def test_decoding_with_a_cache_equals_the_whole(listed):
    llm = trained()
    full = hidden(llm)
    if listed:
        llm.blocks = layers.unstack(llm.blocks)
    step = quick(lambda llm, *args, prefill: llm(*args, prefill=prefill), static_argnames="prefill")
    embeds, cache = llm.embed(IDS), llm.empty_cache(2, 12)
    positions = jnp.broadcast_to(jnp.arange(12), (2, 12))
    valid = jnp.ones((2, 12), bool)
    first, cache = step(llm, embeds[:, :10], positions[:, :10], valid[:, :10], cache, prefill=True)
    last, _ = step(llm, embeds[:, 10:], positions[:, 10:], valid, cache, prefill=False)
    assert_near(jnp.concatenate([first, last], axis=1), full)


@pytest.mark.parametrize("listed", [False, True])
def test_merged_is_a_plain_model_with_the_same_answers(listed):
    llm = trained()
    if listed:
        llm.blocks = layers.unstack(llm.blocks)
    merged = lora.merge(llm)
    assert_near(hidden(merged), hidden(llm))
    assert merged.cfg == PHI3 and llm.cfg == CFG
    if not listed:
        assert jax.tree.structure(merged) == jax.tree.structure(abstract(PHI3))
        assert jax.tree.structure(lora.merge(merged)) == jax.tree.structure(merged)


def test_merge_rounds_once():
    """To the nearest bfloat16 of the float32 sum; factors in float32 leave the output in bfloat16."""
    matrix = matrix_of(ADAPTED)
    matrix.kernel = nnx.Param(matrix.kernel[...].astype(jnp.bfloat16))
    w, a, b = (np.asarray(p[...], np.float64) for p in (matrix.kernel, matrix.lora_a, matrix.lora_b))
    exact, new = w + 2 * a @ b, matrix.merged_kernel()
    step = 2.0 ** (np.floor(np.log2(np.abs(exact))) - 7)  # between neighbours in bfloat16
    assert new.dtype == jnp.bfloat16
    assert (np.abs(np.float64(new) - exact) <= 0.5001 * step).all()
    assert matrix(jnp.ones((1, 5), jnp.bfloat16)).dtype == jnp.bfloat16


def test_attached_to_a_model_that_has_weights():
    base = made(PHI3)
    llm = lora.attach(base, ADAPTED, nnx.Rngs(KEY))
    assert jax.tree.structure(llm) == jax.tree.structure(abstract(CFG))
    assert [p.shape for p in jax.tree.leaves(llm)] == [p.shape for p in jax.tree.leaves(abstract(CFG))]
    np.testing.assert_array_equal(hidden(llm), hidden(base))
    assert base.cfg == PHI3
    with pytest.raises(ValueError, match="has LoRA already"):
        lora.attach(llm, ADAPTED, nnx.Rngs(KEY))


def test_published_size():
    """The original's targets in Phi-3: 3,145,728 trained numbers (facts 5.1)."""
    cfg = load_config("videoglamm_phi3").llm
    cfg.lora = LoraConfig(rank=8, alpha=16, targets=cfg.lora_targets("q_proj,v_proj"), dropout=0.05)
    assert sum(p.size for p in jax.tree.leaves(nnx.state(abstract(cfg), lora.LoRAParam))) == 3_145_728


class Spoken(nnx.Module):
    """The part of `VideoGlamm` that matters here: a language model in a model with a config of its own."""

    def __init__(self, cfg):
        self.cfg = cfg
        self.llm = CausalLM(cfg.llm, nnx.Rngs(0))
        self.text_hidden_fcs = SegProjector(cfg.llm.width, cfg.sam2.width, nnx.Rngs(0))


def test_inside_a_larger_model():
    plain = nnx.eval_shape(lambda: Spoken(load_config("tiny")))
    adapted = jax.eval_shape(lambda model: lora.attach(model, ADAPTED, nnx.Rngs(KEY)), plain)
    assert adapted.cfg.llm.lora == adapted.llm.cfg.lora == ADAPTED
    assert adapted.llm.blocks.mlp.down_proj.lora_a.shape == (2, 128, 4)
    assert jax.tree.structure(jax.eval_shape(lora.merge, adapted)) == jax.tree.structure(plain)
    with pytest.raises(ValueError, match="SegProjector holds no language model"):
        lora.merge(plain.text_hidden_fcs)


def test_sharded_like_the_kernels():
    mesh = jax.sharding.AbstractMesh((1, 2, 4), sharding.AXES)
    specs = {
        "self_attn/qkv_proj": [("fsdp", "tensor"), ("fsdp", None), (None, "tensor")],
        "mlp/down_proj": [(("tensor", "fsdp"), None), (("tensor", "fsdp"), None), (None, "fsdp")],
    }
    for name, wanted in specs.items():
        for leaf, axes in zip(("kernel", "lora_a", "lora_b"), wanted, strict=True):
            assert sharding.spec_for(f"llm/blocks/{name}/{leaf}", (2, 8, 8), mesh) == sharding.P(None, *axes)


def test_targets():
    assert PHI3.lora_targets("q_proj,v_proj") == ("qkv_proj",)
    assert LLAMA.lora_targets("q_proj, v_proj") == ("q_proj", "v_proj")
    assert PHI3.lora_targets("proj") == ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
    with pytest.raises(ValueError, match=r"part of no name of self_attn\.qkv_proj"):
        PHI3.lora_targets("lm_head")
    wrong = dataclasses.replace(PHI3, lora=dataclasses.replace(ADAPTED, targets=("q_proj", "o_proj")))
    with pytest.raises(ValueError, match="q_proj; this model has qkv_proj, o_proj, gate_up_proj, down_proj"):
        abstract(wrong)
    for field, value, message in (("rank", 0, "rank=0 must be at least 1"), ("dropout", 1.0, "below 1")):
        with pytest.raises(ValueError, match=message):
            abstract(dataclasses.replace(PHI3, lora=dataclasses.replace(ADAPTED, **{field: value})))
