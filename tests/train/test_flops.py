"""Counted operations against the compiler's own count of the same programs."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
import tiny_training

from vglamm_jax.config import LoraConfig, load_config
from vglamm_jax.models import layers
from vglamm_jax.models.clip import ClipVision
from vglamm_jax.models.llm import CausalLM
from vglamm_jax.sharding import path_name
from vglamm_jax.train import flops


def compiled(function, *shapes) -> float:
    return jax.jit(function).lower(*shapes).compile().cost_analysis()["flops"]


def unrolled(make, cfg):
    """Shapes of a tower as a list of blocks: the compiler counts the body of a loop once."""
    return jax.eval_shape(layers.unstack_all, layers.abstract(make, cfg))


def test_a_tower_costs_what_the_compiler_says():
    cfg = load_config("tiny")
    images = jax.ShapeDtypeStruct((cfg.frames, cfg.clip.image_size, cfg.clip.image_size, 3), jnp.float32)
    found = compiled(lambda tower, x: tower(x), unrolled(ClipVision, cfg.clip), images)
    assert flops.clip(cfg) == pytest.approx(found, rel=0.15)  # its count has norms and softmax, too


def test_so_does_the_language_model():
    cfg = dataclasses.replace(load_config("tiny").llm, window=None, mlp_width=512)
    embeds = jax.ShapeDtypeStruct((1, 64, cfg.width), jnp.float32)
    positions = jax.ShapeDtypeStruct((1, 64), jnp.int32)
    found = compiled(lambda llm, x, p: llm.logits(llm(x, p)[0]), unrolled(CausalLM, cfg), embeds, positions)
    assert flops.llm(cfg, 64) == pytest.approx(found, rel=0.15)


def test_gradients_of_the_language_model_cost_what_the_compiler_says():
    """LoRA: of the inputs and the low-rank factors alone. Attention costs three times its way forward."""
    lora = LoraConfig(rank=4, alpha=8, targets=("qkv_proj",))
    cfg = dataclasses.replace(load_config("tiny").llm, window=None, mlp_width=512, lora=lora)
    embeds = jax.ShapeDtypeStruct((1, 64, cfg.width), jnp.float32)
    positions = jax.ShapeDtypeStruct((1, 64), jnp.int32)
    model = unrolled(CausalLM, cfg)
    paths = [path_name(path) for path, _ in jax.tree_util.tree_flatten_with_path(model)[0]]
    learnt = [path for path in paths if "lora" in path]

    def loss(learnt_values, x, llm, p):
        values = dict(zip(paths, jax.tree.leaves(llm))) | dict(zip(learnt, learnt_values))
        llm = jax.tree.unflatten(jax.tree.structure(llm), list(values.values()))
        hidden = llm(x, p)[0]
        return (jnp.tanh(llm.logits(hidden))).sum()

    shapes = [shape for path, shape in zip(paths, jax.tree.leaves(model)) if path in learnt]
    found = compiled(jax.grad(loss, argnums=(0, 1)), shapes, embeds, model, positions)
    wanted = flops.llm(cfg, 64) + flops.llm_gradients(cfg, 64, learnt)
    assert wanted == pytest.approx(found, rel=0.15)


def test_a_window_sees_fewer_keys():
    cfg = dataclasses.replace(load_config("tiny").llm, window=3)
    seen = sum(min(i + 1, 3) for i in range(10))
    assert flops.llm_attention(cfg, 10) == cfg.depth * 4 * seen * cfg.heads * cfg.head_dim
    assert flops.llm_attention(dataclasses.replace(cfg, window=None), 10) == flops.llm_attention(cfg, 10) / seen * 55


def test_a_step_grows_with_rows_and_with_what_is_learnt():
    cfg = tiny_training.config("runs")
    adapters = flops.of_step(cfg, 320, ["llm/blocks/self_attn/qkv_proj/lora_a"])
    whole = flops.of_step(cfg, 320, [f"llm/blocks/{name.replace('.', '/')}/kernel" for name in cfg.model.llm.linears])
    double = flops.of_step(dataclasses.replace(cfg, batch_size=16), 320, ["llm/blocks/self_attn/qkv_proj/lora_a"])
    assert double == {name: 2 * value for name, value in adapters.items()}
    assert adapters["llm"] < whole["llm"] < 1.5 * adapters["llm"]
    assert (
        "memory" not in adapters
        and flops.of_step(dataclasses.replace(cfg, decoder="tracked", data=cfg.data), 320).keys() > adapters.keys()
    )


def test_utilisation_is_not_claimed_for_chips_whose_peak_is_unknown():
    assert flops.utilisation(1e12, 1.0, "cpu", 1) is None
    assert flops.utilisation(197e12, 2.0, "TPU v5 lite", 1) == 0.5
