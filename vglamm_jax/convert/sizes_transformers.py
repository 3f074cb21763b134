"""Sizes of a SAM2 in the layout of transformers, from its `config.json`."""

from pathlib import Path
from typing import Any

from vglamm_jax.config import HieraConfig, Sam2Config
from vglamm_jax.convert.torch_io import CheckpointError

IMAGE_ONLY = "sam2"  # `model_type` of a Sam2Model, which has no memory


def transformers_sam2_config(folder: Path) -> Sam2Config:
    """From the `config.json` of a `Sam2Model` or `Sam2VideoModel`; its sizes not stated are the library's defaults.

    A `Sam2Model` says nothing about the memory it has not: those fields keep their defaults.

    Raises:
      CheckpointError: not such a file, or a trunk that is no Hiera as Meta's.
    """
    from transformers import AutoConfig  # brings PyTorch with it, for seconds, where that is installed

    path = folder / "config.json"
    try:
        stated: dict[str, Any] = AutoConfig.from_pretrained(folder).to_dict()
        vision, decoder = stated["vision_config"], stated["mask_decoder_config"]
        trunk = vision["backbone_config"]
        hiera = _hiera(trunk, path)
    except (KeyError, TypeError, ValueError, OSError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: not the configuration of a SAM2 ({' '.join(str(error).split())})") from error
    image_size = trunk["image_size"]
    rope = stated.get("rope_parameters") or {}
    memory = {
        "memory_width": "memory_encoder_output_channels",
        "memory_attention_depth": "memory_attention_num_layers",
        "memory_attention_mlp": "memory_attention_feed_forward_hidden_size",
        "memory_fuser_depth": "memory_fuser_num_layers",
        "num_memories": "num_maskmem",
        "num_pointers": "max_object_pointers_in_encoder",
        "memory_sigmoid_scale": "sigmoid_scale_for_mem_enc",
        "memory_sigmoid_bias": "sigmoid_bias_for_mem_enc",
        "no_object_memory": "enable_occlusion_spatial_embedding",
        "pointer_time": "enable_temporal_pos_encoding_for_object_pointers",
    }
    return Sam2Config(
        image_size=image_size[0] if isinstance(image_size, (list, tuple)) else image_size,
        hiera=hiera,
        width=vision["fpn_hidden_size"],
        top_down_levels=tuple(vision["fpn_top_down_levels"]),
        rope_theta=rope.get("rope_theta", 10000.0),
        decoder_depth=decoder["num_hidden_layers"],
        decoder_heads=decoder["num_attention_heads"],
        decoder_mlp=decoder["mlp_dim"],
        iou_head_width=decoder["iou_head_hidden_dim"],
        num_multimask=decoder["num_multimask_outputs"],
        mask_prompt_width=stated["prompt_encoder_config"]["mask_input_channels"],
        stability_delta=decoder["dynamic_multimask_stability_delta"],
        stability_threshold=decoder["dynamic_multimask_stability_thresh"],
        **{ours: stated[theirs] for ours, theirs in memory.items() if theirs in stated},
    )


def _hiera(trunk: dict[str, Any], path: Path) -> HieraConfig:
    width, heads = trunk["hidden_size"], trunk["num_attention_heads"]
    doubles = all(value == width * 2**n for n, value in enumerate(trunk["embed_dim_per_stage"]))
    if not doubles:
        raise CheckpointError(
            f"{path}: embed_dim_per_stage {trunk['embed_dim_per_stage']} does not double at each stage"
        )
    return HieraConfig(
        width=width,
        heads=heads,
        stages=tuple(trunk["blocks_per_stage"]),
        windows=tuple(trunk["window_size_per_stage"]),
        global_blocks=tuple(trunk["global_attention_blocks"]),
        pos_embed_grid=tuple(trunk["window_positional_embedding_background_size"]),
        norm_eps=trunk["layer_norm_eps"],
    )
