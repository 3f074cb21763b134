"""SAM2 at toy sizes, and the same model in transformers: what the tests of SAM2 compare with."""

import jax
import numpy as np

from vglamm_jax.config import HieraConfig, Sam2Config
from vglamm_jax.models import layers
from vglamm_jax.models.sam2.tracker import Sam2

# The maps of 128 pixels (32, 16, 8, 4) are no multiples of 6, 14 and 7: windows are padded in three stages.
PADDED = HieraConfig(width=12, heads=1, stages=(1, 2, 4, 2), windows=(8, 6, 14, 7), global_blocks=(4, 6))
DIVIDED = HieraConfig(
    width=16, heads=2, stages=(2, 2, 3, 1), windows=(8, 4, 8, 4), global_blocks=(5,), pos_embed_grid=(14, 10)
)


def make_config(hiera: HieraConfig = PADDED, image_size: int = 128, newer: bool = False, **other) -> Sam2Config:
    sizes = {"memory_attention_depth": 2, "memory_attention_mlp": 64, "decoder_mlp": 64}
    return Sam2Config(
        image_size=image_size, hiera=hiera, no_object_memory=newer, pointer_time=newer, **{**sizes, **other}
    )


def hf_parts(cfg: Sam2Config) -> dict:
    hiera, side = cfg.hiera, cfg.image_size
    stages = range(len(hiera.stages))
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": hiera.width,
        "num_attention_heads": hiera.heads,
        "image_size": [side, side],
        "window_positional_embedding_background_size": list(hiera.pos_embed_grid),
        "blocks_per_stage": list(hiera.stages),
        "embed_dim_per_stage": [hiera.stage_width(s) for s in stages],
        "num_attention_heads_per_stage": [hiera.stage_heads(s) for s in stages],
        "window_size_per_stage": list(hiera.windows),
        "global_attention_blocks": list(hiera.global_blocks),
    }
    vision = {
        "backbone_config": backbone,
        "backbone_channel_list": [hiera.stage_width(s) for s in reversed(stages)],
        "backbone_feature_sizes": [[side // s, side // s] for s in (4, 8, 16)],
    }
    return {
        "vision_config": vision,
        "prompt_encoder_config": {"image_size": side},
        "mask_decoder_config": {"mlp_dim": cfg.decoder_mlp},
    }


def randomise(model) -> None:
    """Every parameter matters: transformers starts many of them at zero."""
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            fan_in = value[0].numel() if value.ndim > 1 else 100
            spread = 0.5 if "embed" in name and value.ndim > 1 else fan_in**-0.5
            norm = "norm" in name and name.endswith("weight")
            value.copy_(noise * spread + (1 if norm else 0))
        # Published files hold this matrix twice, equal.
        points = model.prompt_encoder.shared_embedding.positional_embedding
        points.copy_(model.shared_image_embedding.positional_embedding)


def filled(cfg: Sam2Config, model) -> Sam2:
    from vglamm_jax.convert import engine
    from vglamm_jax.convert.tables_hf_sam2 import HF_SAM2_IGNORED, hf_sam2
    from vglamm_jax.convert.torch_io import LazyTensor

    state = {name: value.numpy() for name, value in model.state_dict().items()}
    tensors = {name: LazyTensor(v.shape, v.dtype, lambda v=v: v, name) for name, v in state.items()}
    ours = layers.abstract(Sam2, cfg)
    return jax.tree.map(
        jax.numpy.asarray, engine.fill(ours, engine.Part(hf_sam2(cfg), tensors, ignored=HF_SAM2_IGNORED))
    )


def relative(ours, theirs) -> float:
    """Largest difference over largest value."""
    theirs = np.asarray(theirs, np.float32)
    return float(np.abs(np.asarray(ours, np.float32) - theirs).max() / np.abs(theirs).max())


def random_model(cfg: Sam2Config, seed: int = 0) -> Sam2:
    """Ours with random parameters, made by NumPy: compiling the initialisers takes longer than most tests."""
    random = np.random.default_rng(seed)
    abstract = layers.abstract(Sam2, cfg)

    def fill(path, leaf):
        name = jax.tree_util.keystr(path)
        fan_in = np.prod(leaf.shape[:-1]) if "kernel" in name else 4
        return jax.numpy.asarray(random.normal("scale" in name, fan_in**-0.5, leaf.shape), leaf.dtype)

    return jax.tree_util.tree_map_with_path(fill, abstract)
