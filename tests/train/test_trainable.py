"""The table of what trains against facts 5.1, and a model taken apart and put together. Shapes only."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vglamm_jax.config import LoraConfig, load_config
from vglamm_jax.convert import engine, tables
from vglamm_jax.models import layers
from vglamm_jax.models.videoglamm import VideoGlamm
from vglamm_jax.train import trainable
from vglamm_jax.train.trainable import GROUPS, ORIGINAL, PROJECTORS


def choice(*groups):
    return types.SimpleNamespace(trainable=groups)


def with_lora(name):
    cfg = load_config(name)
    lora = LoraConfig(rank=8, alpha=16, targets=cfg.llm.lora_targets("q_proj,v_proj"))
    return layers.abstract(VideoGlamm, dataclasses.replace(cfg, llm=dataclasses.replace(cfg.llm, lora=lora)))


@pytest.fixture(scope="module")
def tiny():
    return with_lora("tiny")


def test_counts_of_the_original():
    model = with_lora("videoglamm_phi3")
    found = trainable.counts(model, (*ORIGINAL, *PROJECTORS))
    conv_s0_s1 = 256 * 32 + 32 + 256 * 64 + 64  # marked as trainable there, but never reached by a gradient
    biases_of_keys = 2 * (256 + 128 + 128) + 128  # and these by rounding alone
    assert (found["lora"], found["text_hidden_fcs"], found["mask_decoder"]) == (
        3_145_728, 10_226_944, 4_215_109 - conv_s0_s1 - biases_of_keys
    )  # fmt: skip
    assert (found["mm_projector"], found["image_mm_projector"]) == (13_768_704, 12_589_056)
    assert found["embed_tokens"] == found["lm_head"] == 98_340_864 // 32012 * model.cfg.llm.padded_vocab
    assert sum(found.values()) == sum(leaf.size for leaf in jax.tree.leaves(model))
    assert "3,145,728" in trainable.summary(model, ORIGINAL)


def test_apart_and_together(tiny):
    train, frozen = trainable.split(tiny, choice(*ORIGINAL))
    paths = [set(engine.leaves(part)) for part in (train, frozen)]
    assert not paths[0] & paths[1] and paths[0] | paths[1] == set(engine.leaves(tiny))
    whole = trainable.join(train, frozen)
    assert jax.tree.structure(whole) == jax.tree.structure(tiny)
    assert [a is b for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(tiny))].count(False) == 0


def test_gradients_exist_for_what_trains_alone(tiny):
    model = jax.tree.map(lambda x: np.ones(x.shape, np.float32), tiny)
    train, frozen = trainable.split(model, choice("text_hidden_fcs", "mm_projector"))

    def loss(train):
        joined = trainable.join(train, frozen)
        return joined.point(joined.mm_projector(jnp.ones((2, joined.cfg.internvideo2.width)))).sum()

    grads = jax.grad(loss)(train)
    assert jax.tree.structure(grads) == jax.tree.structure(train)
    assert all(np.asarray(leaf).any() for leaf in jax.tree.leaves(grads)) and len(jax.tree.leaves(grads)) == 8


def test_lists_of_blocks_have_the_same_groups(tiny):
    model = layers.unstack_all(jax.tree.map(lambda x: np.zeros(x.shape, np.float32), tiny))
    assert trainable.counts(model, tuple(GROUPS)) == trainable.counts(tiny, tuple(GROUPS))


def test_original_names(tiny):
    """What the conversion table calls the parameters of a group starts as the table of groups says."""
    for row in tables.videoglamm(load_config("tiny")):
        name = trainable.group_of(row.stacked_path, [g for g in GROUPS if g != "llm"])
        if name in ("embed_tokens", "lm_head", "mm_projector", "image_mm_projector", "text_hidden_fcs", "mask_decoder"):
            assert row.key.startswith(GROUPS[name].original), row.key
        elif row.path.startswith("llm/"):
            assert trainable.group_of(row.stacked_path, ["llm"]) == "llm" and name is None
    assert trainable.group_of("llm/blocks/self_attn/qkv_proj/lora_a", ["llm", "lora"]) == "lora"


def test_buffers_and_what_no_forward_pass_uses_never_train(tiny):
    left = [path for path in engine.leaves(tiny) if trainable.group_of(path, GROUPS) is None]
    kept = ("gaussian_matrix", "no_mem_pos_enc", "mask_downsample/", "conv_s", "sam_prompt_encoder", "image_encoder")
    kept += ("k_proj/bias",)
    assert all(path.startswith(("clip/", "internvideo2/")) or any(k in path for k in kept) for path in left)


def test_wrong_choices_are_named(tiny):
    with pytest.raises(ValueError, match=r"no such group: lm_heads; there are lora, embed_tokens"):
        trainable.split(tiny, choice("lm_heads"))
    with pytest.raises(ValueError, match="nothing is to be trained"):
        trainable.split(tiny, choice())
    with pytest.raises(ValueError, match=r"no parameter in group 'lora'; give the model llm\.lora"):
        trainable.split(layers.abstract(VideoGlamm, load_config("tiny")), choice("lora"))
