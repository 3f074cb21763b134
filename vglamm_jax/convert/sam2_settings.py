"""SAM2's settings for PyTorch, made from our config: Meta's YAML, and the `config.json` of transformers.

The inverse of `sizes.sam2_config` and `sizes_transformers`.
"""

import dataclasses
from typing import Any

import yaml

from vglamm_jax.config import HieraConfig, Sam2Config
from vglamm_jax.convert.torch_io import CheckpointError, LazyTensor, Tensors

META, ORIGINAL = "sam2", "model.segment_anything_2.sam2"  # packages: Meta's own, and its copy inside VideoGLaMM
HYDRA_HEADER = "# @package _global_\n\n"
# Neither tensors nor a YAML file say these: Meta's code has one value.
META_FIXED = ("decoder_heads", "stability_delta", "stability_threshold", "no_object_logit", "norm_eps")
# Transformers keeps this matrix twice and loads each from its own name.
POSITIONS, POSITIONS_AGAIN = (
    "shared_image_embedding.positional_embedding",
    "prompt_encoder.shared_embedding.positional_embedding",
)


def sam2_yaml(cfg: Sam2Config, *, package: str = META) -> str:
    """The YAML file that builds the model in PyTorch (facts 1.9).

    Args:
      package: whose classes it names. Meta's own file is for hydra, with everything under `model`; VideoGLaMM's
        (`ORIGINAL`) has no such level.

    Raises:
      CheckpointError: a value that Meta's code has another of, and that no file could tell it.
    """
    published = {
        field.name: field.default for field in (*dataclasses.fields(Sam2Config), *dataclasses.fields(HieraConfig))
    }
    stated = {**vars(cfg), "norm_eps": cfg.hiera.norm_eps}
    other = [f"{name} {stated[name]}" for name in META_FIXED if stated[name] != published[name]]
    if other:
        lacks = f"Meta's code for SAM2 cannot have {', '.join(other)}"
        raise CheckpointError(f"{lacks}; that of transformers can: --part sam2 --layout transformers")
    values = {"_target_": f"{package}.modeling.sam2_base.SAM2Base", **_meta(cfg, f"{package}.modeling.")}
    if package == ORIGINAL:
        return yaml.safe_dump(values, sort_keys=False)
    return HYDRA_HEADER + yaml.safe_dump({"model": values}, sort_keys=False)


def _meta(cfg: Sam2Config, code: str) -> dict[str, Any]:
    return {
        "image_encoder": _image_encoder(cfg, code),
        "memory_attention": _memory_attention(cfg, code),
        "memory_encoder": _memory_encoder(cfg, code),
        "num_maskmem": cfg.num_memories,
        "image_size": cfg.image_size,
        "sigmoid_scale_for_mem_enc": cfg.memory_sigmoid_scale,
        "sigmoid_bias_for_mem_enc": cfg.memory_sigmoid_bias,
        "use_mask_input_as_output_without_sam": True,
        "directly_add_no_mem_embed": True,
        **({"no_obj_embed_spatial": True} if cfg.no_object_memory else {}),
        "use_high_res_features_in_sam": True,
        "multimask_output_in_sam": True,
        "iou_prediction_use_sigmoid": True,
        "use_obj_ptrs_in_encoder": True,
        **({"max_obj_ptrs_in_encoder": cfg.num_pointers} if cfg.num_pointers != 16 else {}),
        "add_tpos_enc_to_obj_ptrs": cfg.pointer_time,
        **({"proj_tpos_enc_in_obj_ptrs": True, "use_signed_tpos_enc_to_obj_ptrs": True} if cfg.pointer_time else {}),
        "only_obj_ptrs_in_the_past_for_eval": True,
        "pred_obj_scores": True,
        "pred_obj_scores_mlp": True,
        "fixed_no_obj_ptr": True,
        "multimask_output_for_tracking": True,
        "use_multimask_token_for_obj_ptr": True,
        "multimask_min_pt_num": 0,
        "multimask_max_pt_num": 1,
        "use_mlp_for_obj_ptr_proj": True,
        "compile_image_encoder": False,
    }


def _image_encoder(cfg: Sam2Config, code: str) -> dict[str, Any]:
    hiera, backbones = cfg.hiera, f"{code}backbones."
    return {
        "_target_": f"{backbones}image_encoder.ImageEncoder",
        "scalp": 1,
        "trunk": {
            "_target_": f"{backbones}hieradet.Hiera",
            "embed_dim": hiera.width,
            "num_heads": hiera.heads,
            "stages": list(hiera.stages),
            "global_att_blocks": list(hiera.global_blocks),
            "window_pos_embed_bkg_spatial_size": list(hiera.pos_embed_grid),
            "window_spec": list(hiera.windows),
        },
        "neck": {
            "_target_": f"{backbones}image_encoder.FpnNeck",
            "position_encoding": _sines(cfg.width, code),
            "d_model": cfg.width,
            "backbone_channel_list": _channels(hiera),
            "fpn_top_down_levels": list(cfg.top_down_levels),
            "fpn_interp_model": "nearest",
        },
    }


def _channels(hiera: HieraConfig) -> list[int]:
    """The deepest stage first, as the neck takes them."""
    return [hiera.stage_width(stage) for stage in reversed(range(len(hiera.stages)))]


def _sines(features: int, code: str) -> dict[str, Any]:
    return {
        "_target_": f"{code}position_encoding.PositionEmbeddingSine",
        "num_pos_feats": features,
        "normalize": True,
        "scale": None,
        "temperature": 10000,
    }


def _memory_attention(cfg: Sam2Config, code: str) -> dict[str, Any]:
    return {
        "_target_": f"{code}memory_attention.MemoryAttention",
        "d_model": cfg.width,
        "pos_enc_at_input": True,
        "layer": {
            "_target_": f"{code}memory_attention.MemoryAttentionLayer",
            "activation": "relu",
            "dim_feedforward": cfg.memory_attention_mlp,
            "dropout": 0.1,
            "pos_enc_at_attn": False,
            "self_attention": _rope_attention(cfg, code),
            "d_model": cfg.width,
            "pos_enc_at_cross_attn_keys": True,
            "pos_enc_at_cross_attn_queries": False,
            "cross_attention": {
                **_rope_attention(cfg, code),
                "rope_k_repeat": True,
                "kv_in_dim": cfg.memory_width,
            },
        },
        "num_layers": cfg.memory_attention_depth,
    }


def _rope_attention(cfg: Sam2Config, code: str) -> dict[str, Any]:
    """`feat_sizes` is what the published files say; the code makes its table anew for the true size."""
    return {
        "_target_": f"{code}sam.transformer.RoPEAttention",
        "rope_theta": cfg.rope_theta,
        "feat_sizes": [cfg.image_size // 32] * 2,
        "embedding_dim": cfg.width,
        "num_heads": 1,
        "downsample_rate": 1,
        "dropout": 0.1,
    }


def _memory_encoder(cfg: Sam2Config, code: str) -> dict[str, Any]:
    return {
        "_target_": f"{code}memory_encoder.MemoryEncoder",
        "out_dim": cfg.memory_width,
        "position_encoding": _sines(cfg.memory_width, code),
        "mask_downsampler": {
            "_target_": f"{code}memory_encoder.MaskDownSampler",
            "kernel_size": 3,
            "stride": 2,
            "padding": 1,
        },
        "fuser": {
            "_target_": f"{code}memory_encoder.Fuser",
            "layer": {
                "_target_": f"{code}memory_encoder.CXBlock",
                "dim": cfg.width,
                "kernel_size": 7,
                "padding": 3,
                "layer_scale_init_value": 1e-6,
                "use_dwconv": True,
            },
            "num_layers": cfg.memory_fuser_depth,
        },
    }


def transformers_sam2_files(cfg: Sam2Config, *, memory: bool = True) -> dict[str, dict[str, Any]]:
    """`config.json` of a `Sam2VideoModel`, or without memory of a `Sam2Model`; for `hf_settings.write`."""
    settings = {
        "architectures": ["Sam2VideoModel" if memory else "Sam2Model"],
        "model_type": "sam2_video" if memory else "sam2",
        "vision_config": _vision(cfg),
        "prompt_encoder_config": {
            "hidden_size": cfg.width,
            "image_size": cfg.image_size,
            "mask_input_channels": cfg.mask_prompt_width,
        },
        "mask_decoder_config": {
            "hidden_size": cfg.width,
            "num_hidden_layers": cfg.decoder_depth,
            "num_attention_heads": cfg.decoder_heads,
            "mlp_dim": cfg.decoder_mlp,
            "iou_head_hidden_dim": cfg.iou_head_width,
            "num_multimask_outputs": cfg.num_multimask,
            "dynamic_multimask_stability_delta": cfg.stability_delta,
            "dynamic_multimask_stability_thresh": cfg.stability_threshold,
        },
    }
    return {"config.json": settings | (_memory(cfg) if memory else {})}


def with_positions_twice(tensors: Tensors) -> dict[str, LazyTensor]:
    """Tensors under transformers' names, complete for its models, which would make the missing one up at random."""
    return {POSITIONS_AGAIN: tensors[POSITIONS], **tensors}


def _vision(cfg: Sam2Config) -> dict[str, Any]:
    hiera, side = cfg.hiera, cfg.image_size
    stages = range(len(hiera.stages))
    return {
        "model_type": "sam2_vision_model",
        "backbone_config": {
            "model_type": "sam2_hiera_det_model",
            "hidden_size": hiera.width,
            "num_attention_heads": hiera.heads,
            "image_size": [side, side],
            "window_positional_embedding_background_size": list(hiera.pos_embed_grid),
            "blocks_per_stage": list(hiera.stages),
            "embed_dim_per_stage": [hiera.stage_width(stage) for stage in stages],
            "num_attention_heads_per_stage": [hiera.stage_heads(stage) for stage in stages],
            "window_size_per_stage": list(hiera.windows),
            "global_attention_blocks": list(hiera.global_blocks),
            "layer_norm_eps": hiera.norm_eps,
        },
        "backbone_channel_list": _channels(hiera),
        "backbone_feature_sizes": [[side // stride] * 2 for stride in (4, 8, 16)],
        "fpn_hidden_size": cfg.width,
        "fpn_top_down_levels": list(cfg.top_down_levels),
    }


def _memory(cfg: Sam2Config) -> dict[str, Any]:
    return {
        "image_size": cfg.image_size,
        "num_maskmem": cfg.num_memories,
        "max_object_pointers_in_encoder": cfg.num_pointers,
        "sigmoid_scale_for_mem_enc": cfg.memory_sigmoid_scale,
        "sigmoid_bias_for_mem_enc": cfg.memory_sigmoid_bias,
        "enable_occlusion_spatial_embedding": cfg.no_object_memory,
        "enable_temporal_pos_encoding_for_object_pointers": cfg.pointer_time,
        "memory_attention_hidden_size": cfg.width,
        "memory_attention_num_layers": cfg.memory_attention_depth,
        "memory_attention_feed_forward_hidden_size": cfg.memory_attention_mlp,
        "memory_attention_rope_feat_sizes": [cfg.grid, cfg.grid],
        "memory_encoder_hidden_size": cfg.width,
        "memory_encoder_output_channels": cfg.memory_width,
        "memory_fuser_num_layers": cfg.memory_fuser_depth,
        "memory_fuser_embed_dim": cfg.width,
        "memory_fuser_intermediate_dim": 4 * cfg.width,
        "mask_downsampler_embed_dim": cfg.width,
        "rope_parameters": {"rope_type": "axial", "rope_theta": cfg.rope_theta},
    }
