"""Settings made from a config: the published form of them, and the same config read back."""

import dataclasses
import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import yaml

from vglamm_jax.config import LlmConfig, RopeScaling, load_config
from vglamm_jax.convert import hf_settings, sam2_settings, sizes, source, tables
from vglamm_jax.convert.sizes_transformers import transformers_sam2_config
from vglamm_jax.convert.tables_sam2 import sam2 as sam2_rows
from vglamm_jax.convert.torch_io import CheckpointError, LazyTensor

SCALING = RopeScaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_positions=8192)
LLAMA3 = LlmConfig(
    vocab=128256, width=4096, depth=32, heads=32, kv_heads=8, head_dim=128, mlp_width=14336,
    max_positions=131072, rope_theta=500000.0, rope_scaling=SCALING,
)  # fmt: skip
LLAMAS = {
    "llama3.1-8b": LLAMA3,
    "llama3.2-1b": dataclasses.replace(LLAMA3, width=2048, depth=16, heads=32, head_dim=64, tie_embeddings=True),
    "wide heads": dataclasses.replace(LLAMA3, width=3072, depth=2, heads=16),
    "mistral": dataclasses.replace(LLAMA3, rope_scaling=None, window=4096, depth=2),
    "phi3 of all keys": LlmConfig(
        vocab=64, width=32, depth=1, heads=4, kv_heads=2, head_dim=8, mlp_width=48, max_positions=64, fused=True
    ),
}
SAM2_SIZES = [new + size for new in ("", "2.1-") for size in ("tiny", "small", "base_plus", "large")]


def unread(shape):
    """A tensor that has a shape and cannot be read: sizes follow from shapes alone."""

    def read():
        raise AssertionError("sizes are read from shapes")

    return LazyTensor(shape, np.dtype(ml_dtypes.bfloat16), read, Path("none"))


def llm_shapes(cfg):
    names = [name for row in tables.llm(cfg) for name in row.names()]
    return {name: unread((cfg.vocab if "embed" in name else 1, cfg.width)) for name in names}


def sam2_shapes(cfg):
    """The names of every tensor, and the sides that say something; making the whole model takes seconds."""
    sides = {
        "image_encoder.neck.convs.0.conv.weight": (cfg.width,),
        "memory_encoder.out_proj.weight": (cfg.memory_width,),
        "memory_attention.layers.0.linear1.weight": (cfg.memory_attention_mlp,),
        "maskmem_tpos_enc": (cfg.num_memories,),
        "sam_mask_decoder.transformer.layers.0.mlp.layers.0.weight": (cfg.decoder_mlp,),
        "sam_mask_decoder.iou_prediction_head.layers.0.weight": (cfg.iou_head_width,),
        "sam_mask_decoder.mask_tokens.weight": (cfg.num_multimask + 1,),
        "sam_prompt_encoder.mask_downscaling.3.weight": (cfg.mask_prompt_width,),
        "image_encoder.trunk.patch_embed.proj.weight": (cfg.hiera.width,),
        "image_encoder.trunk.pos_embed": (1, cfg.hiera.width, *cfg.hiera.pos_embed_grid),
    }
    names = [name for row in sam2_rows(cfg) for name in row.names()]
    assert set(sides) <= set(names)
    return {name: unread(sides.get(name, (1,))) for name in names}


def internvideo2_shapes(cfg):
    sides = {
        "vision_encoder.cls_token": (1, 1, cfg.width),
        "vision_encoder.patch_embed.proj.weight": (cfg.width, 3, 1, cfg.patch_size, cfg.patch_size),
        "vision_encoder.blocks.0.mlp.fc1.weight": (cfg.mlp_width, cfg.width),
        "vision_encoder.img_pos_embed": (1, cfg.grid**2 + 1, cfg.width),
        **tables.internvideo2_extras(cfg),
    }
    names = {name for row in tables.internvideo2(cfg) for name in row.names()} | set(sides)
    return {name: unread(sides.get(name, (1,))) for name in names}


def read_llm(folder, cfg):
    return sizes.llm_config(folder / "config.json", llm_shapes(cfg), folder)


@pytest.fixture(scope="module")
def golden_config(golden):
    pytest.importorskip("torch", reason="the golden checkpoint is pickled")
    return source.read_config(source.find(golden))


def test_golden_settings_are_made_as_they_are(golden, golden_config):
    """Every key and value of the original's own files follows from our config and where the towers lie."""
    cfg = golden_config
    said = json.loads((golden / "checkpoint" / "config.json").read_text())
    files = hf_settings.videoglamm_files(
        cfg, clip_tower=said["image_vision_tower"], internvideo2_tower=said["vision_tower"]
    )
    assert files["config.json"] == said
    clip, stated = hf_settings.clip_files(cfg.clip), json.loads((golden / "clip" / "config.json").read_text())
    of_saving = {"projection_dim", "torch_dtype", "transformers_version"}
    assert clip["config.json"] == {key: value for key, value in stated.items() if key not in of_saving}
    assert clip["preprocessor_config.json"] == json.loads((golden / "clip" / "preprocessor_config.json").read_text())
    stated = yaml.safe_load((golden / "sam2.yaml").read_text())
    assert yaml.safe_load(sam2_settings.sam2_yaml(cfg.sam2, package=sam2_settings.ORIGINAL)) == stated


@pytest.mark.parametrize("name", ["golden", "tiny", "videoglamm_phi3"])
def test_videoglamm_comes_back(name, request, tmp_path):
    cfg = request.getfixturevalue("golden_config") if name == "golden" else load_config(name)
    files = hf_settings.write(tmp_path, hf_settings.videoglamm_files(cfg))
    assert [file.name for file in files] == ["config.json", "generation_config.json"]
    said = sizes.read_json(tmp_path / "config.json")
    assert read_llm(tmp_path, cfg.llm) == cfg.llm
    assert (said["seg_token_idx"], said["pad_token_id"]) == (cfg.seg_token_id, cfg.pad_token_id)
    assert source._stop_ids(tmp_path, said) == cfg.stop_ids
    assert (said["mm_hidden_size"], said["image_mm_hidden_size"]) == (cfg.internvideo2.width, cfg.clip.width)
    hf_settings.write(tmp_path / "clip", hf_settings.clip_files(cfg.clip))
    assert sizes.clip_config(tmp_path / "clip", said["mm_vision_select_layer"]) == cfg.clip
    hf_settings.write(tmp_path, hf_settings.internvideo2_files(cfg.internvideo2))
    tensors = internvideo2_shapes(cfg.internvideo2)
    assert sizes.internvideo2_config(tmp_path / "internvideo2.pt", tensors) == cfg.internvideo2
    check_sam2(cfg.sam2, tmp_path)


@pytest.mark.parametrize("name", LLAMAS)
def test_language_models_come_back(name, tmp_path):
    cfg = LLAMAS[name]
    hf_settings.write(tmp_path, hf_settings.llm_files(cfg))
    assert read_llm(tmp_path, cfg) == cfg


@pytest.mark.parametrize("name", SAM2_SIZES)
def test_sam2_comes_back(name, tmp_path):
    check_sam2(load_config(f"sam2:{name}"), tmp_path)


def check_sam2(cfg, folder):
    """Through Meta's YAML in both forms, and through transformers' two kinds of models."""
    tensors = sam2_shapes(cfg)
    for package in (sam2_settings.META, sam2_settings.ORIGINAL):
        path = folder / "sam2.yaml"
        path.write_text(sam2_settings.sam2_yaml(cfg, package=package))
        assert sizes.sam2_config(tensors, path, path) == cfg
    hf_settings.write(folder / "hf", sam2_settings.transformers_sam2_files(cfg))
    assert transformers_sam2_config(folder / "hf") == cfg
    hf_settings.write(folder / "image", sam2_settings.transformers_sam2_files(cfg, memory=False))
    image = transformers_sam2_config(folder / "image")
    assert (image.hiera, image.decoder_mlp, image.image_size) == (cfg.hiera, cfg.decoder_mlp, cfg.image_size)


def test_hydra_finds_the_model_where_it_looks():
    text = sam2_settings.sam2_yaml(load_config("sam2:2.1-small"))
    assert text.startswith("# @package _global_\n")
    model = yaml.safe_load(text)["model"]
    assert model["_target_"] == "sam2.modeling.sam2_base.SAM2Base" and model["no_obj_embed_spatial"]
    assert model["proj_tpos_enc_in_obj_ptrs"] and model["use_signed_tpos_enc_to_obj_ptrs"]


def test_unusual_values_come_back_too(tmp_path):
    cfg = load_config("tiny").sam2
    other = {"num_pointers": 6, "num_memories": 4, "memory_sigmoid_scale": 10.0, "rope_theta": 500.0}
    check_sam2(dataclasses.replace(cfg, **other), tmp_path)
    for_transformers = dataclasses.replace(cfg, stability_delta=0.1, decoder_heads=4, top_down_levels=(3,))
    hf_settings.write(tmp_path, sam2_settings.transformers_sam2_files(for_transformers))
    assert transformers_sam2_config(tmp_path) == for_transformers
    with pytest.raises(CheckpointError, match=r"cannot have decoder_heads 4, stability_delta 0\.1; that of transf"):
        sam2_settings.sam2_yaml(for_transformers)


def test_what_no_file_can_say_is_refused():
    cfg = load_config("tiny")
    with pytest.raises(CheckpointError, match=r"Phi-3 .* cannot have Llama-3 rope scaling"):
        hf_settings.llm_files(dataclasses.replace(cfg.llm, rope_scaling=SCALING))
    with pytest.raises(CheckpointError, match=r"video\.pt: the original takes only paths that contain 'InternVideo2'"):
        hf_settings.videoglamm_files(cfg, internvideo2_tower="video.pt")
