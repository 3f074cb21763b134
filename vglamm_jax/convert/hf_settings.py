"""The JSON files that PyTorch models want beside their weights, made from our configs: the inverse of `sizes`.

For weights that came without such files, e.g. trained here from scratch. Each function returns the content of
files by name, to be written by `write`. Values that no config of ours states are those of the published models.
"""

import json
from pathlib import Path
from typing import Any

from vglamm_jax.config import (
    ClipConfig,
    InternVideo2Config,
    LlmConfig,
    RopeScaling,
    VideoGlammConfig,
    from_json,
    to_json,
)
from vglamm_jax.convert.torch_io import CheckpointError

Files = dict[str, dict[str, Any]]  # name -> JSON content
ORIGINAL_TRANSFORMERS = "4.41.0"  # what the original runs with
CLIP_TOWER = "openai/clip-vit-large-patch14-336"
# The original looks for "InternVideo2" in this path.
INTERNVIDEO2_TOWER = "OpenGVLab/InternVideo2-Stage2_1B-224p-f4/InternVideo2-stage2_1b-224p-f4.pt"
CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
BICUBIC = 3
# The original has one choice of each, which a `config.json` need not say. With another, it keeps our whole config.
CHOICES = {"encoders": "both", "mask_path": "tracked", "frames": 16, "pool": 2}
OURS = "vglamm_jax"


def write(folder: Path, files: Files) -> list[Path]:
    """Writes JSON files as transformers does: sorted, indented by two. Returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return [folder / name for name in files]


def videoglamm_files(
    cfg: VideoGlammConfig,
    *,
    clip_tower: str = CLIP_TOWER,
    internvideo2_tower: str = INTERNVIDEO2_TOWER,
    bos_token_id: int = 1,
) -> Files:
    """`config.json` and `generation_config.json` of the complete checkpoint (facts 2.1).

    The original's export also says `do_sample`, so that the same question has another answer each time (facts
    2.7); this one does not.

    Args:
      clip_tower: where the original finds CLIP, a folder or a name on the Hugging Face hub.
      internvideo2_tower: where it finds InternVideo2's file; must contain "InternVideo2".

    Raises:
      CheckpointError: such a model has no place in these files.
    """
    if "InternVideo2" not in internvideo2_tower:
        raise CheckpointError(f"{internvideo2_tower}: the original takes only paths that contain 'InternVideo2'")
    tokens = {"bos_token_id": bos_token_id, "eos_token_id": cfg.stop_ids[0], "pad_token_id": cfg.pad_token_id}
    generation = {**tokens, "eos_token_id": list(cfg.stop_ids), "transformers_version": ORIGINAL_TRANSFORMERS}
    settings = {
        **_decoder(cfg.llm),
        **tokens,
        **_towers(cfg, clip_tower, internvideo2_tower),
        "architectures": ["VideoGLaMMForCausalLM"],
        "model_type": "VideoGPT+",
        "mask_decoder_itm": False,
        "out_dim": cfg.sam2.width,
        "seg_token_idx": cfg.seg_token_id,
        "train_mask_decoder": True,
        "transformers_version": ORIGINAL_TRANSFORMERS,
        "use_cache": False,
        "use_sam2": True,
    }
    return {"config.json": settings, "generation_config.json": generation}


def add_choices(path: Path, cfg: VideoGlammConfig) -> None:
    """Has a `config.json` of the original say what it has no words for; where that is nothing, it stays as it is."""
    content = json.loads(path.read_text(encoding="utf-8"))
    before = content.pop(OURS, None)
    if any(getattr(cfg, name) != value for name, value in CHOICES.items()):
        content[OURS] = json.loads(json.dumps(to_json(cfg)))
    if content.get(OURS) != before:
        write(path.parent, {path.name: content})


def chosen(content: dict[str, Any], path: Path) -> VideoGlammConfig | None:
    """The config that `add_choices` kept in the content of a `config.json`.

    Raises:
      CheckpointError: it is not that of this version.
    """
    try:
        return from_json(VideoGlammConfig, content[OURS]) if OURS in content else None
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: {OURS}: {error}; pass --config, or convert the model again") from error


def _towers(cfg: VideoGlammConfig, clip_tower: str, internvideo2_tower: str) -> dict[str, Any]:
    """What the original's multi-modal mix-ins read; None for an encoder that is not there."""
    image = clip_tower if cfg.encoders != "video" else None
    video = internvideo2_tower if cfg.encoders != "image" else None
    return {
        "image_aspect_ratio": "square",
        "image_grid_pinpoints": None,
        "image_mm_hidden_size": cfg.clip.width,
        "image_mm_projector_type": "mlp2x_gelu",
        "image_mm_vision_tower": image,
        "image_vision_tower": image,
        "mm_hidden_size": cfg.internvideo2.width,
        "mm_projector_type": "mlp2x_gelu",
        "mm_use_im_patch_token": False,
        "mm_use_im_start_end": False,
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": cfg.clip.select_layer,
        "mm_vision_tower": video,
        "pretrain_image_mm_mlp_adapter": None,
        "pretrain_mm_mlp_adapter": None,
        "tune_mm_mlp_adapter": False,
        "use_mm_proj": True,
        "vision_tower": video,
    }


def llm_files(
    cfg: LlmConfig, *, bos_token_id: int | None = None, eos_token_id: int | None = None, pad_token_id: int | None = None
) -> Files:
    """`config.json` of a plain Phi-3 (fused projections), Llama, or Mistral (a Llama with a window).

    `sliding_window` is written as the original's transformers reads it: keys before the query's own (facts 1.6).
    Newer versions count the query itself, and see one key less.

    Raises:
      CheckpointError: such a model is none of the three.
    """
    family, name = ("phi3", "Phi3") if cfg.fused else ("mistral", "Mistral") if cfg.window else ("llama", "Llama")
    tokens = {"bos_token_id": bos_token_id, "eos_token_id": eos_token_id, "pad_token_id": pad_token_id}
    settings = {**_decoder(cfg), **tokens, "architectures": [f"{name}ForCausalLM"], "model_type": family}
    return {"config.json": settings}


def _decoder(cfg: LlmConfig) -> dict[str, Any]:
    if cfg.fused and cfg.rope_scaling is not None:
        raise CheckpointError("a Phi-3 (fused projections) cannot have Llama-3 rope scaling in a config.json")
    settings: dict[str, Any] = {
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "hidden_size": cfg.width,
        "initializer_range": 0.02,
        "intermediate_size": cfg.mlp_width,
        "max_position_embeddings": cfg.max_positions,
        "num_attention_heads": cfg.heads,
        "num_hidden_layers": cfg.depth,
        "num_key_value_heads": cfg.kv_heads,
        "rms_norm_eps": cfg.norm_eps,
        "rope_scaling": _rope_scaling(cfg.rope_scaling),
        "rope_theta": cfg.rope_theta,
        "tie_word_embeddings": cfg.tie_embeddings,
        "vocab_size": cfg.vocab,
    }
    if cfg.fused or cfg.window is not None:
        settings["sliding_window"] = None if cfg.window is None else cfg.window - 1
    if cfg.fused:
        settings |= {"embd_pdrop": 0.0, "resid_pdrop": 0.0, "original_max_position_embeddings": cfg.max_positions}
    if cfg.head_dim * cfg.heads != cfg.width:
        settings["head_dim"] = cfg.head_dim
    return settings


def _rope_scaling(scaling: RopeScaling | None) -> dict[str, Any] | None:
    if scaling is None:
        return None
    return {
        "factor": scaling.factor,
        "high_freq_factor": scaling.high_freq_factor,
        "low_freq_factor": scaling.low_freq_factor,
        "original_max_position_embeddings": scaling.original_max_positions,
        "rope_type": "llama3",
    }


def clip_files(cfg: ClipConfig) -> Files:
    """`config.json` of a `CLIPVisionModel`, and `preprocessor_config.json` for its images (facts 2.4, 3.2)."""
    settings = {
        "architectures": ["CLIPVisionModel"],
        "attention_dropout": 0.0,
        "hidden_act": cfg.activation,
        "hidden_size": cfg.width,
        "image_size": cfg.image_size,
        "initializer_factor": 1.0,
        "initializer_range": 0.02,
        "intermediate_size": cfg.mlp_width,
        "layer_norm_eps": cfg.norm_eps,
        "model_type": "clip_vision_model",
        "num_attention_heads": cfg.heads,
        "num_channels": 3,
        "num_hidden_layers": cfg.depth,
        "patch_size": cfg.patch_size,
    }
    return {"config.json": settings, "preprocessor_config.json": _clip_images(cfg.image_size)}


def _clip_images(side: int) -> dict[str, Any]:
    return {
        "crop_size": side,
        "do_center_crop": True,
        "do_normalize": True,
        "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor",
        "image_mean": CLIP_MEAN,
        "image_std": CLIP_STD,
        "resample": BICUBIC,
        "size": side,
    }


def internvideo2_files(cfg: InternVideo2Config) -> Files:
    """`internvideo2.json` for beside the weights: what their shapes do not tell us. PyTorch has no use for it."""
    return {"internvideo2.json": {"grid": cfg.grid, "num_frames": cfg.frames, "num_heads": cfg.heads}}
