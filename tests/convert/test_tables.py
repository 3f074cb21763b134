"""The table names every tensor of the published files, with its shape, and nothing else."""

import json

import pytest
from flax import nnx

from vglamm_jax.convert import engine, tables
from vglamm_jax.models.clip import ClipVision
from vglamm_jax.models.internvideo2 import InternVideo2


@pytest.fixture
def manifest(golden):
    return json.loads((golden.parent / "full_manifest.json").read_text())


def assert_covers(checkpoint, manifest):
    wanted = {name: tuple(shape) for name, (shape, _) in manifest.items()}
    assert set(checkpoint) == set(wanted)
    assert {name: shape for name, shape in checkpoint.items() if shape != wanted[name]} == {}


def test_clip(manifest, published):
    cfg = published.clip
    module = engine.abstract(lambda: ClipVision(cfg, nnx.Rngs(0)))
    checkpoint = engine.abstract_checkpoint(module, tables.clip(cfg), tables.clip_extras(cfg))
    assert len(checkpoint) == 391
    assert_covers(checkpoint, manifest["clip_vit_l_14_336_vision"])


def test_internvideo2(manifest, published):
    cfg = published.internvideo2
    module = engine.abstract(lambda: InternVideo2(cfg, nnx.Rngs(0)))
    checkpoint = engine.abstract_checkpoint(module, tables.internvideo2(cfg), tables.internvideo2_extras(cfg))
    assert len(checkpoint) == 571
    assert_covers(checkpoint, manifest["internvideo2_stage2_vision"])
