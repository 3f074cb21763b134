"""SAM2 rows for the layout of transformers (`Sam2VideoModel`): Meta's table with other names."""

import dataclasses
import re

from vglamm_jax.config import Sam2Config
from vglamm_jax.convert.rows import Row, Transform
from vglamm_jax.convert.tables_sam2 import sam2

# The prompt encoder shares the image model's matrix.
HF_SAM2_IGNORED = (r"^prompt_encoder\.shared_embedding\.positional_embedding$",)
POINT_KINDS = 4

# Meta's name -> transformers' name, applied in order.
RENAMES = [
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^image_encoder\.neck\.convs\.(\d+)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (r"patch_embed\.proj\.", "patch_embed.projection."),
    (r"^sam_mask_decoder\.", "mask_decoder."),
    (r"output_upscaling\.0\.", "upscale_conv1."),
    (r"output_upscaling\.1\.", "upscale_layer_norm."),
    (r"output_upscaling\.3\.", "upscale_conv2."),
    (
        r"^sam_prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix",
        "shared_image_embedding.positional_embedding",
    ),
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    (r"point_embeddings\.\d+\.", "point_embed."),
    (r"mask_downscaling\.0\.", "mask_embed.conv1."),
    (r"mask_downscaling\.1\.", "mask_embed.layer_norm1."),
    (r"mask_downscaling\.3\.", "mask_embed.conv2."),
    (r"mask_downscaling\.4\.", "mask_embed.layer_norm2."),
    (r"mask_downscaling\.6\.", "mask_embed.conv3."),
    (r"mask_downsampler\.encoder\.12\.", "mask_downsampler.final_conv."),
    (r"memory_encoder\.pix_feat_proj\.", "memory_encoder.feature_projection."),
    (r"memory_encoder\.out_proj\.", "memory_encoder.projection."),
    (r"memory_encoder\.fuser\.", "memory_encoder.memory_fuser."),
    (r"\.gamma$", ".scale"),
    (r"dwconv\.", "depthwise_conv."),
    (r"pwconv", "pointwise_conv"),
    (r"out_proj\.", "o_proj."),
    (r"\bnorm(\d?)\.", r"layer_norm\1."),
    (r"norm_final_attn\.", "layer_norm_final_attn."),
    (r"^obj_ptr_proj\.", "object_pointer_proj."),
    (r"^obj_ptr_tpos_proj\.", "temporal_positional_encoding_projection_layer."),
    (r"^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^no_mem_pos_enc$", "no_memory_positional_encoding"),
    (r"^no_obj_ptr$", "no_object_pointer"),
    (r"^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
]
# Layers of a multi-layer perceptron by their number: of three, or of two in a block.
PERCEPTRON = {3: {"0": "proj_in", "1": "layers.0", "2": "proj_out"}, 2: {"0": "proj_in", "1": "proj_out"}}


def hf_sam2(cfg: Sam2Config) -> list[Row]:
    """Rows of a `Sam2VideoModel` state dict -> `sam2.tracker.Sam2`."""
    return [dataclasses.replace(row, key=hf_name(row.key), transform=_transform(row)) for row in sam2(cfg)]


def hf_name(key: str) -> str:
    """Transformers' name of a tensor, from Meta's."""
    key = re.sub(r"^(.*\bmlp)\.layers\.(\d)\.", lambda m: f"{m[1]}.{PERCEPTRON[2][m[2]]}.", key)
    deep = r"^(.*(?:hypernetworks_mlps\.[^.]+|_head|obj_ptr_proj))\.layers\.(\d)\."
    key = re.sub(deep, lambda m: f"{m[1]}.{PERCEPTRON[3][m[2]]}.", key)
    key = re.sub(r"mask_downsampler\.encoder\.(\d|10)\.", _mask_downsampler, key)
    for pattern, name in RENAMES:
        key = re.sub(pattern, name, key)
    return key


def _mask_downsampler(match: re.Match) -> str:
    """Convolution, norm and activation alternate in Meta's list."""
    layer, kind = divmod(int(match[1]), 3)
    return f"mask_downsampler.layers.{layer}.{('conv', 'layer_norm')[kind]}."


def _transform(row: Row) -> Transform:
    """The four kinds of points are rows of one tensor here."""
    kind = re.search(r"point_embeddings\.(\d+)\.", row.key)
    return dataclasses.replace(row.transform, pick=(int(kind[1]), POINT_KINDS)) if kind else row.transform
