"""The published VideoGLaMM: CLIP-L/14-336, InternVideo2-1B, Phi-3-mini-4k, SAM2 Hiera-L."""

from vglamm_jax.config import (
    ClipConfig,
    HieraConfig,
    InternVideo2Config,
    InternVideo2Heads,
    LlmConfig,
    Sam2Config,
    VideoGlammConfig,
)


def get_config() -> VideoGlammConfig:
    return VideoGlammConfig(
        clip=ClipConfig(image_size=336, patch_size=14, width=1024, depth=24, heads=16, mlp_width=4096),
        internvideo2=InternVideo2Config(
            image_size=224,
            patch_size=14,
            frames=4,
            width=1408,
            depth=40,
            heads=16,
            mlp_width=6144,
            unused=InternVideo2Heads(clip_embed=768, clip_teacher=3200, final_teacher=768, clip_layers=6, proj=512),
        ),
        llm=LlmConfig(
            vocab=32012,
            width=3072,
            depth=32,
            heads=32,
            kv_heads=32,
            head_dim=96,
            mlp_width=8192,
            max_positions=4096,
            window=2048,
            fused=True,
        ),
        sam2=Sam2Config(
            image_size=1024,
            hiera=HieraConfig(
                width=144, heads=2, stages=(2, 6, 36, 4), windows=(8, 4, 16, 8), global_blocks=(23, 33, 43)
            ),
        ),
        seg_token_id=32011,
        stop_ids=(32000, 32001, 32007),
    )
