"""The shipped configs: published sizes, and training pages that take any of them."""

import dataclasses
import math

import pytest

from vglamm_jax.config import load_config
from vglamm_jax.convert import engine, tables
from vglamm_jax.models import layers
from vglamm_jax.models.llm import CausalLM
from vglamm_jax.models.videoglamm import VideoGlamm
from vglamm_jax.train import trainable

# As transformers counts the instruct releases, tied tables once.
PARAMETERS = {
    "3.1-8b": 8_030_261_248,
    "3.2-3b": 3_212_749_824,
    "3.2-1b": 1_235_814_400,
    "smollm2-1.7b": 1_711_376_384,
    "smollm2-360m": 361_821_120,
    "smollm2-135m": 134_515_008,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_language_model_is_the_release_and_a_row_for_seg(name):
    cfg = load_config(f"videoglamm_llama:{name}")
    assert cfg.seg_token_id == cfg.llm.vocab - 1
    released = dataclasses.replace(cfg.llm, vocab=cfg.llm.vocab - 1)
    places = engine.slots(tables.llm(released), engine.leaves(layers.abstract(CausalLM, released)))
    assert sum(math.prod(slot.torch_shape) for slot in places) == PARAMETERS[name]


@pytest.mark.parametrize("page", ["train_adapters", "train_lora", "train_full"])
@pytest.mark.parametrize("model", ["", ":videoglamm_llama:3.1-8b", ":videoglamm_llama:smollm2-135m"])
def test_a_training_page_takes_any_model(page, model):
    cfg = load_config(page + model)
    trainable.check(layers.abstract(VideoGlamm, cfg.model), cfg.trainable)


def test_a_model_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(ValueError, match=r"no language model '9b' here: use 3\.1-8b, .*, smollm2-135m"):
        load_config("train_lora:videoglamm_llama:9b")
