"""The PyTorch models of transformers at our sizes, with random weights: what we are measured against."""

import torch
import transformers

from vglamm_jax.config import ClipConfig, LlmConfig, Sam2Config

NOISE = 0.02  # added to every parameter, since several start as zeros
THERE = 100.0  # added to the logit of an object being in the frame


def _random(model: torch.nn.Module, noise: float = 0.0) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters() if noise else ():
            parameter.add_(noise * torch.randn(parameter.shape, generator=generator))
    return model.eval().requires_grad_(False)


def clip(cfg: ClipConfig) -> transformers.CLIPVisionModel:
    """Only the blocks up to the selected hidden state, as ours."""
    return _random(
        transformers.CLIPVisionModel(
            transformers.CLIPVisionConfig(
                hidden_size=cfg.width,
                intermediate_size=cfg.mlp_width,
                num_hidden_layers=cfg.blocks_run,
                num_attention_heads=cfg.heads,
                image_size=cfg.image_size,
                patch_size=cfg.patch_size,
                hidden_act=cfg.activation,
                layer_norm_eps=cfg.norm_eps,
            )
        )
    )


def llm(cfg: LlmConfig) -> transformers.PreTrainedModel:
    """Phi-3, or Llama where projections are separate. Raises ValueError for sizes that neither says."""
    if cfg.rope_scaling is not None:
        raise ValueError("the benchmark's PyTorch model has no RoPE scaling: use a config without llm.rope_scaling")
    sizes = {
        "vocab_size": cfg.vocab,
        "hidden_size": cfg.width,
        "num_hidden_layers": cfg.depth,
        "num_attention_heads": cfg.heads,
        "num_key_value_heads": cfg.kv_heads,
        "intermediate_size": cfg.mlp_width,
        "max_position_embeddings": cfg.max_positions,
        "rms_norm_eps": cfg.norm_eps,
        "tie_word_embeddings": cfg.tie_embeddings,
        "rope_parameters": {"rope_type": "default", "rope_theta": cfg.rope_theta},
        "pad_token_id": 0,
    }
    if cfg.fused:
        config = transformers.Phi3Config(**sizes, sliding_window=cfg.window)
        return _random(transformers.Phi3ForCausalLM(config))
    config = transformers.LlamaConfig(**sizes, head_dim=cfg.head_dim)
    return _random(transformers.LlamaForCausalLM(config))


def _vision(cfg: Sam2Config) -> dict:
    hiera, side, stages = cfg.hiera, cfg.image_size, range(len(cfg.hiera.stages))
    backbone = transformers.Sam2HieraDetConfig(
        hidden_size=hiera.width,
        num_attention_heads=hiera.heads,
        image_size=[side, side],
        blocks_per_stage=list(hiera.stages),
        embed_dim_per_stage=[hiera.stage_width(s) for s in stages],
        num_attention_heads_per_stage=[hiera.stage_heads(s) for s in stages],
        window_size_per_stage=list(hiera.windows),
        window_positional_embedding_background_size=list(hiera.pos_embed_grid),
        global_attention_blocks=list(hiera.global_blocks),
        layer_norm_eps=hiera.norm_eps,
    )
    return {
        "backbone_config": backbone.to_dict(),
        "backbone_channel_list": [hiera.stage_width(s) for s in reversed(stages)],
        "backbone_feature_sizes": [[side // stride] * 2 for stride in (4, 8, 16)],
        "fpn_top_down_levels": list(cfg.top_down_levels),
    }


def sam2_video(cfg: Sam2Config) -> transformers.Sam2VideoModel:
    config = transformers.Sam2VideoConfig(
        vision_config=_vision(cfg),
        mask_decoder_config={"mlp_dim": cfg.decoder_mlp, "num_hidden_layers": cfg.decoder_depth},
        prompt_encoder_config={"image_size": cfg.image_size},
        image_size=cfg.image_size,
        memory_attention_num_layers=cfg.memory_attention_depth,
        memory_attention_feed_forward_hidden_size=cfg.memory_attention_mlp,
        memory_attention_rope_feat_sizes=[cfg.grid, cfg.grid],
        memory_fuser_num_layers=cfg.memory_fuser_depth,
        max_object_pointers_in_encoder=cfg.num_pointers,
        num_maskmem=cfg.num_memories,
        enable_occlusion_spatial_embedding=cfg.no_object_memory,
        enable_temporal_pos_encoding_for_object_pointers=cfg.pointer_time,
    )
    model = _random(transformers.Sam2VideoModel(config), NOISE)
    # One matrix in every published file, two random ones in a new model.
    shared = model.shared_image_embedding.positional_embedding
    model.prompt_encoder.shared_embedding.positional_embedding = shared
    # Objects are there: masks of absent ones are one constant, which would compare equal whatever was computed.
    model.mask_decoder.pred_obj_score_head.proj_out.bias.add_(THERE)
    return model


def sam2_image(cfg: Sam2Config, video: transformers.Sam2VideoModel) -> transformers.Sam2Model:
    """The image model on the tensors of the video model."""
    config = transformers.Sam2Config(
        vision_config=_vision(cfg),
        mask_decoder_config={"mlp_dim": cfg.decoder_mlp, "num_hidden_layers": cfg.decoder_depth},
        prompt_encoder_config={"image_size": cfg.image_size},
    )
    with torch.device("meta"):
        model = transformers.Sam2Model(config)
    missing, _ = model.load_state_dict(video.state_dict(), strict=False, assign=True)
    if missing:
        raise ValueError(f"transformers' Sam2Model has tensors that its Sam2VideoModel lacks: {', '.join(missing)}")
    return model.eval().requires_grad_(False)
