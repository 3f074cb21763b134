"""Reads the model's sizes from a checkpoint: its JSON and YAML files, and the shapes of its tensors.

Shapes say most. What they cannot say (heads, windows, which blocks see the whole image) comes from the
files beside the weights, or from the table of published models that the shapes are recognised by.
"""

import itertools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from vglamm_jax.config import (
    ClipConfig,
    HieraConfig,
    InternVideo2Config,
    InternVideo2Heads,
    LlmConfig,
    RopeScaling,
    Sam2Config,
)
from vglamm_jax.convert.torch_io import CheckpointError, Tensors

CLIP_FRAMES = 4  # frames per clip that VideoGLaMM feeds, whatever InternVideo2 was trained with (facts 1.5)
INTERNVIDEO2_GRID = 16  # 224 px in patches of 14: all published files
INTERNVIDEO2_HEADS = {(1408, 40): 16, (3200, 48): 25}  # (width, depth): the 1B and the 6B model
HIERA_WINDOWS = (8, 4, 14, 7)  # where a YAML file says nothing, as in Meta's own code
# (width, stages) -> heads of the first stage, windows, global blocks: tiny, small, base+, large.
HIERA_PUBLISHED = {
    (96, (1, 2, 7, 2)): (1, HIERA_WINDOWS, (5, 7, 9)),
    (96, (1, 2, 11, 2)): (1, HIERA_WINDOWS, (7, 10, 13)),
    (112, (2, 3, 16, 3)): (2, HIERA_WINDOWS, (12, 16, 20)),
    (144, (2, 6, 36, 4)): (2, (8, 4, 16, 8), (23, 33, 43)),
}


def read_json(path: Path) -> dict[str, Any]:
    """Raises CheckpointError, naming the file, unless it holds a JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: not readable as JSON ({error}); copy it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds no JSON object; copy it again")
    return content


def setting(values: Mapping[str, Any], name: str, path: Path) -> Any:
    if values.get(name) is None:
        raise CheckpointError(f"{path}: lacks `{name}`; add it, or pass --config with a file of sizes")
    return values[name]


def shape(tensors: Tensors, name: str, source: Path) -> tuple[int, ...]:
    if name not in tensors:
        raise CheckpointError(f"{source}: holds no {name}, so it is another kind of file")
    return tensors[name].shape


def count(tensors: Tensors, pattern: str) -> int:
    """How many different numbers `(\\d+)` of the pattern takes."""
    return len({match.group(1) for name in tensors if (match := re.match(pattern, name))})


def clip_config(folder: Path, select_layer: int) -> ClipConfig:
    """From the `config.json` of a transformers CLIP folder, whole or vision half (facts 1.2)."""
    path = folder / "config.json"
    values = read_json(path)
    values = values.get("vision_config", values)
    return ClipConfig(
        image_size=setting(values, "image_size", path),
        patch_size=setting(values, "patch_size", path),
        width=setting(values, "hidden_size", path),
        depth=setting(values, "num_hidden_layers", path),
        heads=setting(values, "num_attention_heads", path),
        mlp_width=setting(values, "intermediate_size", path),
        norm_eps=values.get("layer_norm_eps", 1e-5),
        activation=values.get("hidden_act", "quick_gelu"),
        select_layer=select_layer,
    )


def internvideo2_config(file: Path, tensors: Tensors, select_layer: int = -2) -> InternVideo2Config:
    """From the tensors, and heads from a sidecar or the published sizes (facts 1.3).

    `internvideo2.json` or a `case.json` with a section "internvideo2" beside the file may state `num_heads`,
    `num_frames`, and `grid`, patches on a side, for a file without the table for single images.
    """
    prefix = "vision_encoder."
    width = shape(tensors, f"{prefix}cls_token", file)[-1]
    depth = count(tensors, r"vision_encoder\.blocks\.(\d+)\.")
    patch = shape(tensors, f"{prefix}patch_embed.proj.weight", file)[-1]
    stated = _sidecar(file)
    heads = stated.get("num_heads", INTERNVIDEO2_HEADS.get((width, depth)))
    if heads is None:
        raise CheckpointError(
            f"{file}: its number of heads is not known (width {width}, depth {depth} is no published size); "
            f'write {file.with_name("internvideo2.json")} with {{"num_heads": N}}, or pass --config'
        )
    return InternVideo2Config(
        image_size=stated.get("grid", internvideo2_grid(tensors)) * patch,
        patch_size=patch,
        frames=stated.get("num_frames", CLIP_FRAMES),
        width=width,
        depth=depth,
        heads=heads,
        mlp_width=shape(tensors, f"{prefix}blocks.0.mlp.fc1.weight", file)[0],
        select_layer=select_layer,
        unused=_internvideo2_heads(tensors),
    )


def internvideo2_grid(tensors: Tensors) -> int:
    """Side of the patch grid, from the table for single images if there is one."""
    table = tensors.get("vision_encoder.img_pos_embed")
    return round((table.shape[1] - 1) ** 0.5) if table is not None else INTERNVIDEO2_GRID


def _sidecar(file: Path) -> Mapping[str, Any]:
    own = file.with_name("internvideo2.json")
    if own.is_file():
        return read_json(own)
    case = file.with_name("case.json")
    return read_json(case).get("internvideo2", {}) if case.is_file() else {}


def _internvideo2_heads(tensors: Tensors) -> InternVideo2Heads | None:
    names = {
        "clip_embed": "vision_encoder.clip_projector.cross_attn.proj.weight",
        "clip_teacher": "vision_encoder.clip_decoder.0.head.weight",
        "final_teacher": "vision_encoder.final_clip_decoder.head.weight",
        "proj": "vision_proj.weight",
    }
    if not all(name in tensors for name in names.values()):
        return None
    layers = count(tensors, r"vision_encoder\.clip_decoder\.(\d+)\.")
    return InternVideo2Heads(**{field: tensors[name].shape[0] for field, name in names.items()}, clip_layers=layers)


def llm_config(path: Path, tensors: Tensors, source: Path) -> LlmConfig:
    """From the checkpoint's `config.json` (facts 1.6); fused or separate projections by the tensors' names."""
    values = read_json(path)
    heads, width = setting(values, "num_attention_heads", path), setting(values, "hidden_size", path)
    window = values.get("sliding_window") if values.get("use_sliding_window", True) else None
    rope = values.get("rope_parameters") or {}
    return LlmConfig(
        vocab=shape(tensors, "model.embed_tokens.weight", source)[0],
        width=width,
        depth=setting(values, "num_hidden_layers", path),
        heads=heads,
        kv_heads=values.get("num_key_value_heads") or heads,
        head_dim=values.get("head_dim") or width // heads,
        mlp_width=setting(values, "intermediate_size", path),
        max_positions=setting(values, "max_position_embeddings", path),
        norm_eps=values.get("rms_norm_eps", 1e-5),
        rope_theta=values.get("rope_theta") or rope.get("rope_theta", 10000.0),
        rope_scaling=_rope_scaling(values.get("rope_scaling") or rope, path),
        # The original's attention lets a query see `sliding_window` keys before its own (facts 1.6).
        window=None if window is None else window + 1,
        fused="model.layers.0.self_attn.qkv_proj.weight" in tensors,
        tie_embeddings=bool(values.get("tie_word_embeddings")) and "lm_head.weight" not in tensors,
    )


def _rope_scaling(values: Mapping[str, Any], path: Path) -> RopeScaling | None:
    kind = values.get("rope_type", values.get("type", "default"))
    if kind == "default":
        return None
    if kind != "llama3":
        raise CheckpointError(f"{path}: rope scaling `{kind}` is not supported, only `llama3` or none")
    return RopeScaling(
        factor=setting(values, "factor", path),
        low_freq_factor=setting(values, "low_freq_factor", path),
        high_freq_factor=setting(values, "high_freq_factor", path),
        original_max_positions=setting(values, "original_max_position_embeddings", path),
    )


def sam2_config(tensors: Tensors, source: Path, yaml_file: Path | None) -> Sam2Config:
    """From SAM2's tensors (Meta's names), and its YAML file or the published sizes (facts 1.9)."""
    values = _sam2_yaml(yaml_file) if yaml_file else {}

    def size(name: str, axis: int = 0) -> int:
        return shape(tensors, name, source)[axis]

    rope = values.get("memory_attention", {}).get("layer", {}).get("self_attention", {})
    neck = values.get("image_encoder", {}).get("neck", {})
    return Sam2Config(
        image_size=values.get("image_size", 1024),
        hiera=_hiera(tensors, source, values.get("image_encoder", {}).get("trunk"), yaml_file),
        width=size("image_encoder.neck.convs.0.conv.weight"),
        top_down_levels=tuple(neck.get("fpn_top_down_levels", (2, 3))),
        memory_width=size("memory_encoder.out_proj.weight"),
        memory_attention_depth=count(tensors, r"memory_attention\.layers\.(\d+)\."),
        memory_attention_mlp=size("memory_attention.layers.0.linear1.weight"),
        memory_fuser_depth=count(tensors, r"memory_encoder\.fuser\.layers\.(\d+)\."),
        rope_theta=rope.get("rope_theta", 10000.0),
        num_memories=size("maskmem_tpos_enc"),
        num_pointers=values.get("max_obj_ptrs_in_encoder", 16),
        decoder_depth=count(tensors, r"sam_mask_decoder\.transformer\.layers\.(\d+)\."),
        decoder_mlp=size("sam_mask_decoder.transformer.layers.0.mlp.layers.0.weight"),
        iou_head_width=size("sam_mask_decoder.iou_prediction_head.layers.0.weight"),
        num_multimask=size("sam_mask_decoder.mask_tokens.weight") - 1,
        mask_prompt_width=size("sam_prompt_encoder.mask_downscaling.3.weight"),
        memory_sigmoid_scale=values.get("sigmoid_scale_for_mem_enc", 20.0),
        memory_sigmoid_bias=values.get("sigmoid_bias_for_mem_enc", -10.0),
        no_object_memory="no_obj_embed_spatial" in tensors,
        pointer_time="obj_ptr_tpos_proj.weight" in tensors,
    )


def _sam2_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        values = values.get("model", values)
        if not isinstance(values["image_encoder"]["trunk"], dict):
            raise KeyError("trunk")
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path}: not a SAM2 configuration ({reason}); copy sam2_hiera_*.yaml again") from error
    return values


def _hiera(tensors: Tensors, source: Path, trunk: Mapping[str, Any] | None, yaml_file: Path | None) -> HieraConfig:
    prefix = "image_encoder.trunk."
    width = shape(tensors, f"{prefix}patch_embed.proj.weight", source)[0]
    stages = _stages(tensors, prefix)
    published = HIERA_PUBLISHED.get((width, stages))
    if trunk is not None:
        _same(trunk, {"embed_dim": width, "stages": list(stages)}, yaml_file, source)
        heads, windows = trunk.get("num_heads", 1), trunk.get("window_spec", HIERA_WINDOWS)
        global_blocks = trunk.get("global_att_blocks", (12, 16, 20))
    elif published is not None:
        heads, windows, global_blocks = published
    else:
        raise CheckpointError(
            f"{source}: its SAM2 (width {width}, stages {list(stages)}) is no published size; put its sam2.yaml "
            "beside the checkpoint, or pass --config"
        )
    grid = shape(tensors, f"{prefix}pos_embed", source)[2:]
    return HieraConfig(
        width=width,
        heads=heads,
        stages=stages,
        windows=tuple(windows),
        global_blocks=tuple(global_blocks),
        pos_embed_grid=tuple(grid),
    )


def _stages(tensors: Tensors, prefix: str) -> tuple[int, ...]:
    """Blocks per stage: the first block of each later stage has a projection."""
    starts = sorted(
        int(match.group(1)) for name in tensors if (match := re.match(rf"{prefix}blocks\.(\d+)\.proj\.weight", name))
    )
    bounds = [0, *starts, count(tensors, rf"{prefix}blocks\.(\d+)\.")]
    return tuple(stop - start for start, stop in itertools.pairwise(bounds))


def _same(stated: Mapping[str, Any], found: Mapping[str, Any], stated_in: Path | None, found_in: Path) -> None:
    for name, value in found.items():
        if name in stated and stated[name] != value:
            raise CheckpointError(
                f"{stated_in}: says {name} is {stated[name]}, but {found_in} has {value}; these are two models"
            )
