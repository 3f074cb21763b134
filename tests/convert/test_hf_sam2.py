"""SAM2 as transformers stores it: every name of its state dict is in the table, with its shape."""

import dataclasses

import numpy as np
import pytest

from vglamm_jax.convert import engine
from vglamm_jax.convert.engine import Part
from vglamm_jax.convert.tables_hf_sam2 import HF_SAM2_IGNORED, hf_sam2
from vglamm_jax.convert.torch_io import LazyTensor
from vglamm_jax.models import layers
from vglamm_jax.models.sam2.tracker import Sam2

torch = pytest.importorskip("torch", reason="compares with transformers' PyTorch model")
transformers = pytest.importorskip("transformers")


def hf_model(cfg, newer: bool):
    hiera = cfg.hiera
    backbone = {
        "hidden_size": hiera.width,
        "num_attention_heads": hiera.heads,
        "image_size": [cfg.image_size] * 2,
        "blocks_per_stage": list(hiera.stages),
        "embed_dim_per_stage": [hiera.stage_width(s) for s in range(4)],
        "num_attention_heads_per_stage": [hiera.stage_heads(s) for s in range(4)],
        "window_size_per_stage": list(hiera.windows),
        "global_attention_blocks": list(hiera.global_blocks),
    }
    vision = {
        "backbone_config": transformers.Sam2HieraDetConfig(**backbone).to_dict(),
        "backbone_channel_list": [hiera.stage_width(s) for s in (3, 2, 1, 0)],
    }
    config = transformers.Sam2VideoConfig(
        vision_config=vision,
        mask_decoder_config={"mlp_dim": cfg.decoder_mlp},
        image_size=cfg.image_size,
        memory_attention_num_layers=cfg.memory_attention_depth,
        memory_attention_feed_forward_hidden_size=cfg.memory_attention_mlp,
        memory_fuser_num_layers=cfg.memory_fuser_depth,
        enable_occlusion_spatial_embedding=newer,
        enable_temporal_pos_encoding_for_object_pointers=newer,
    )
    torch.manual_seed(0)
    return transformers.Sam2VideoModel(config)


@pytest.mark.parametrize("newer", [False, True])
def test_every_tensor_has_its_row_and_comes_back(tiny, newer):
    cfg = dataclasses.replace(tiny.sam2, no_object_memory=newer, pointer_time=newer)
    state = {name: value.numpy() for name, value in hf_model(cfg, newer).state_dict().items()}
    tensors = {name: LazyTensor(v.shape, v.dtype, lambda v=v: v, name) for name, v in state.items()}
    module = layers.abstract(Sam2, cfg)
    model = engine.fill(module, Part(hf_sam2(cfg), tensors, ignored=HF_SAM2_IGNORED))
    back = dict(engine.to_torch(model, hf_sam2(cfg)))
    assert set(state) - set(back) == {"prompt_encoder.shared_embedding.positional_embedding"}
    for name, value in back.items():
        np.testing.assert_array_equal(value, state[name], err_msg=name)
    kinds = [e.embedding[...] for e in model.sam_prompt_encoder.point_embeddings]
    np.testing.assert_array_equal(np.concatenate(kinds), state["prompt_encoder.point_embed.weight"])
