"""The published sizes: parameter counts without making a parameter (facts 2.2)."""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest

from vglamm_jax.models import layers
from vglamm_jax.models.sam2.tracker import Sam2

CONFIG = Path(__file__).resolve().parents[3] / "configs" / "sam2.py"


@pytest.fixture(scope="module")
def get_config():
    spec = importlib.util.spec_from_file_location("sam2_config", CONFIG)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config


def count(tree) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def test_large_has_the_published_number_of_elements_in_every_part(get_config):
    model = layers.abstract(Sam2, get_config())
    assert count(model) == 224_430_386
    parts = {
        "image_encoder": 212_703_280,
        "memory_attention": 5_922_304,
        "memory_encoder": 1_384_608,
        "sam_prompt_encoder": 6_220 + 256,
        "sam_mask_decoder": 4_215_109,
        "obj_ptr_proj": 197_376,
    }
    assert {name: count(getattr(model, name)) for name in parts} == parts


@pytest.mark.parametrize(("name", "millions"), [("tiny", 38.9), ("small", 46.0), ("base_plus", 80.8)])
def test_the_smaller_ones_have_the_published_size(get_config, name, millions):
    model = layers.abstract(Sam2, get_config(name))
    assert abs(count(model) / 1e6 - millions) < 0.1


def test_the_newer_ones_add_two_parts(get_config):
    old, new = (layers.abstract(Sam2, get_config(n)) for n in ("tiny", "2.1-tiny"))
    assert count(new) - count(old) == 64 + 256 * 64 + 64


def test_an_unknown_name_is_refused(get_config):
    with pytest.raises(ValueError, match="no SAM2 model 'huge'"):
        get_config("huge")
