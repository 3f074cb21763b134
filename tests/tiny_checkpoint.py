"""A checkpoint folder in the original's layout, tiny and random, made without PyTorch: everything is safetensors."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import yaml
from flax import nnx
from safetensors.numpy import save_file

from vglamm_jax.config import VideoGlammConfig, load_config
from vglamm_jax.convert import engine, tables
from vglamm_jax.convert.torch_io import open_tensors
from vglamm_jax.data.tokenizer import tiny_tokenizer
from vglamm_jax.infer.demo import favour_seg, random_weights
from vglamm_jax.models import layers
from vglamm_jax.models.videoglamm import VideoGlamm


def tiny_config() -> VideoGlammConfig:
    return load_config("tiny")


def write(folder: Path, seed: int = 0, frequent_seg: bool = True, cfg: VideoGlammConfig | None = None) -> Path:
    """Writes checkpoint/, clip/, internvideo2.safetensors and sam2.yaml; answers are all [SEG] by default."""
    cfg = cfg or tiny_config()
    model = random_weights(layers.abstract(VideoGlamm, cfg), seed)
    if frequent_seg:
        favour_seg(model, cfg, seg=0.6, stop=0.3)
    home = folder / "checkpoint"
    home.mkdir(parents=True)
    save(home / "model.safetensors", engine.to_torch(*_part(model, tables.trained(cfg))))
    (home / "config.json").write_text(json.dumps(home_settings(cfg)))
    (home / "generation_config.json").write_text(json.dumps({"eos_token_id": list(cfg.stop_ids)}))
    tiny_tokenizer(home, cfg.llm.vocab)
    towers = tables.towers(cfg)
    (folder / "clip").mkdir()
    unused = zeros(tables.clip_extras(cfg.clip))
    save(folder / "clip" / "model.safetensors", [*engine.to_torch(*_part(model, towers["clip"])), *unused])
    (folder / "clip" / "config.json").write_text(json.dumps(clip_settings(cfg)))
    grid = {"vision_encoder.img_pos_embed": (1, cfg.internvideo2.grid**2 + 1, cfg.internvideo2.width)}
    unused = zeros(tables.internvideo2_extras(cfg.internvideo2) | grid)
    save(folder / "internvideo2.safetensors", [*engine.to_torch(*_part(model, towers["internvideo2"])), *unused])
    (folder / "internvideo2.json").write_text(json.dumps({"num_heads": cfg.internvideo2.heads}))
    (folder / "sam2.yaml").write_text(yaml.safe_dump(sam2_settings(cfg)))
    return folder


def save(path: Path, tensors) -> None:
    save_file({name: np.ascontiguousarray(value) for name, value in tensors}, path)


def zeros(shapes: dict) -> list[tuple[str, np.ndarray]]:
    """Tensors that real files have and no forward pass reads."""
    return [(name, np.zeros(shape, np.float32)) for name, shape in shapes.items()]


def assert_same_tensors(one: Path, other: Path) -> None:
    """Two checkpoint files or folders agree key for key and bit for bit, in types and shapes too."""
    ours, theirs = open_tensors(one), open_tensors(other)
    assert set(ours) == set(theirs)
    for name, tensor in ours.items():
        a, b = tensor.read(), theirs[name].read()
        assert (a.dtype, a.shape) == (b.dtype, b.shape), name
        assert a.tobytes() == b.tobytes(), name


def _part(model: VideoGlamm, rows) -> tuple:
    """The sub-tree of the model that the rows name, in a form `to_torch` takes."""
    tops = {row.path.partition("/")[0] for row in rows}
    return nnx.Dict({name: getattr(model, name) for name in tops}), rows


def home_settings(cfg: VideoGlammConfig) -> dict:
    llm = cfg.llm
    return {
        "model_type": "VideoGPT+",
        "vocab_size": llm.vocab,
        "hidden_size": llm.width,
        "num_hidden_layers": llm.depth,
        "num_attention_heads": llm.heads,
        "num_key_value_heads": llm.kv_heads,
        "intermediate_size": llm.mlp_width,
        "max_position_embeddings": llm.max_positions,
        "rms_norm_eps": llm.norm_eps,
        "rope_theta": llm.rope_theta,
        "sliding_window": llm.window - 1 if llm.window else None,
        "seg_token_idx": cfg.seg_token_id,
        "eos_token_id": cfg.stop_ids[0],
        "pad_token_id": cfg.pad_token_id,
        "mm_vision_select_layer": cfg.clip.select_layer,
    }


def clip_settings(cfg: VideoGlammConfig) -> dict:
    clip = cfg.clip
    return {
        "hidden_size": clip.width,
        "num_hidden_layers": clip.depth,
        "num_attention_heads": clip.heads,
        "intermediate_size": clip.mlp_width,
        "image_size": clip.image_size,
        "patch_size": clip.patch_size,
        "hidden_act": clip.activation,
    }


def sam2_settings(cfg: VideoGlammConfig) -> dict:
    trunk = dataclasses.asdict(cfg.sam2.hiera)
    return {
        "image_size": cfg.sam2.image_size,
        "image_encoder": {
            "trunk": {
                "embed_dim": trunk["width"],
                "num_heads": trunk["heads"],
                "stages": list(trunk["stages"]),
                "window_spec": list(trunk["windows"]),
                "global_att_blocks": list(trunk["global_blocks"]),
                "window_pos_embed_bkg_spatial_size": list(trunk["pos_embed_grid"]),
            },
            "neck": {"fpn_top_down_levels": list(cfg.sam2.top_down_levels)},
        },
    }
