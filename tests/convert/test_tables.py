"""The table names every tensor of the published files, with its shape, and nothing else."""

import dataclasses
import json

import pytest

from vglamm_jax.config import LlmConfig
from vglamm_jax.convert import engine, tables
from vglamm_jax.convert.tables_sam2 import sam2
from vglamm_jax.models import layers
from vglamm_jax.models.clip import ClipVision
from vglamm_jax.models.internvideo2 import InternVideo2
from vglamm_jax.models.llm import CausalLM
from vglamm_jax.models.sam2.tracker import Sam2
from vglamm_jax.models.videoglamm import VideoGlamm


@pytest.fixture
def manifest(golden):
    return json.loads((golden.parent / "full_manifest.json").read_text())


def assert_covers(checkpoint, manifest):
    wanted = {name: tuple(shape) for name, (shape, _) in manifest.items()}
    assert set(checkpoint) == set(wanted)
    assert {name: shape for name, shape in checkpoint.items() if shape != wanted[name]} == {}


def test_clip(manifest, published):
    cfg = published.clip
    module = layers.abstract(ClipVision, cfg)
    checkpoint = engine.abstract_checkpoint(module, tables.clip(cfg), tables.clip_extras(cfg))
    assert len(checkpoint) == 391
    assert_covers(checkpoint, manifest["clip_vit_l_14_336_vision"])


def test_internvideo2(manifest, published):
    cfg = published.internvideo2
    module = layers.abstract(InternVideo2, cfg)
    checkpoint = engine.abstract_checkpoint(module, tables.internvideo2(cfg), tables.internvideo2_extras(cfg))
    assert len(checkpoint) == 571
    assert_covers(checkpoint, manifest["internvideo2_stage2_vision"])


def test_sam2(manifest, published):
    """The manifest has VideoGLaMM's spelling of the layer scale; Meta's own files say gamma (facts 1.10)."""
    cfg = published.sam2
    module = layers.abstract(Sam2, cfg)
    assert_covers(engine.abstract_checkpoint(module, sam2(cfg, layer_scale="weight"), {}), manifest["sam2_hiera_large"])
    meta = engine.abstract_checkpoint(module, sam2(cfg), {})
    assert len(meta) == 900 and meta["memory_encoder.fuser.layers.1.gamma"] == (256,)


def test_sam21_adds_three_tensors(published):
    plain, newer = published.sam2, dataclasses.replace(published.sam2, no_object_memory=True, pointer_time=True)
    names = [set(engine.abstract_checkpoint(layers.abstract(Sam2, cfg), sam2(cfg), {})) for cfg in (plain, newer)]
    assert names[1] - names[0] == {"no_obj_embed_spatial", "obj_ptr_tpos_proj.weight", "obj_ptr_tpos_proj.bias"}


def test_whole_checkpoint(manifest, published):
    module = layers.abstract(VideoGlamm, published)
    extras = tables.videoglamm_extras(published)
    checkpoint = engine.abstract_checkpoint(module, tables.videoglamm(published), extras)
    assert len(checkpoint) == 2069
    assert_covers(checkpoint, manifest["videoglamm"])


def test_llama_names_separate_projections():
    cfg = LlmConfig(
        vocab=130, width=16, depth=2, heads=4, kv_heads=2, head_dim=4, mlp_width=24, max_positions=64, fused=False
    )
    module = layers.abstract(CausalLM, cfg)
    checkpoint = engine.abstract_checkpoint(module, tables.llm(cfg), {})
    layer = "model.layers.1."
    assert checkpoint[layer + "self_attn.q_proj.weight"] == (16, 16)
    assert checkpoint[layer + "self_attn.k_proj.weight"] == checkpoint[layer + "self_attn.v_proj.weight"] == (8, 16)
    assert checkpoint[layer + "mlp.up_proj.weight"] == (24, 16)
    assert checkpoint["lm_head.weight"] == checkpoint["model.embed_tokens.weight"] == (130, 16)
    tied = dataclasses.replace(cfg, tie_embeddings=True)
    module = layers.abstract(CausalLM, tied)
    assert set(checkpoint) - set(engine.abstract_checkpoint(module, tables.llm(tied), {})) == {"lm_head.weight"}
