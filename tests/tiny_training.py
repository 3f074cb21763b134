"""A training config as small as it gets: one block of everything, one supervised frame, pictures of 64 pixels."""

import dataclasses

from vglamm_jax.config import (
    ClipConfig,
    HieraConfig,
    InternVideo2Config,
    LlmConfig,
    LoraConfig,
    Sam2Config,
    VideoGlammConfig,
)
from vglamm_jax.data.conversation import ConversationRule
from vglamm_jax.data.pack import PackConfig
from vglamm_jax.data.pipeline import DataConfig
from vglamm_jax.data.shares import Share
from vglamm_jax.train.config import MeshConfig, OptimizerConfig, TrainConfig

ALL = ("lora", "embed_tokens", "lm_head", "mm_projector", "image_mm_projector", "text_hidden_fcs", "mask_decoder")


def model() -> VideoGlammConfig:
    return VideoGlammConfig(
        clip=ClipConfig(image_size=28, patch_size=14, width=16, depth=2, heads=2, mlp_width=32),
        internvideo2=InternVideo2Config(
            image_size=28, patch_size=14, frames=2, width=32, depth=2, heads=2, mlp_width=32
        ),
        llm=LlmConfig(
            vocab=512,
            width=32,
            depth=2,
            heads=2,
            kv_heads=2,
            head_dim=16,
            mlp_width=64,
            max_positions=512,
            fused=True,
            lora=LoraConfig(rank=4, alpha=8, targets=("qkv_proj",), dropout=0.25),
        ),
        sam2=Sam2Config(
            image_size=64,
            hiera=HieraConfig(width=8, heads=1, stages=(1, 1, 1, 1), windows=(8, 4, 4, 2), global_blocks=(2,)),
            width=32,
            memory_width=8,
            memory_attention_depth=1,
            memory_attention_mlp=32,
            memory_fuser_depth=1,
            decoder_depth=1,
            decoder_heads=2,
            decoder_mlp=32,
            iou_head_width=16,
        ),
        seg_token_id=511,
        stop_ids=(500, 507),
        frames=2,
    )


def config(workdir, **changes) -> TrainConfig:
    """Eight rows a step of Moving Things, with dropout.

    Devices add up in another order, and Adam makes a step of full size of a gradient however small: `eps` is well
    above the rounding of these gradients, 1e-8, and well below most of them, so that weights can be compared.
    """
    data = DataConfig(
        pack=PackConfig(lengths=(320,), slots=2, frames=1, mask_size=16),
        conversation=ConversationRule(max_objects=2, too_many="cut"),
        augment=None,
        threads=1,
        ahead=1,
    )
    cfg = TrainConfig(
        model=model(),
        data=data,
        workdir=str(workdir),
        steps=20,
        batch_size=8,
        mixture=(Share(names=("moving_things",)),),
        trainable=ALL,
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup=2, eps=1e-5),
        mesh=MeshConfig(),
        remat=False,
        log_every=1,
        save_every=3,
        keep=4,
        tensorboard=False,
        export=False,
    )
    return dataclasses.replace(cfg, **changes)


def get_config() -> TrainConfig:
    """For `vglamm train --config tests/tiny_training.py`."""
    return config("runs/tiny")
