"""Toy sizes of the same model: what the tests and the demo run. Its answers mean nothing untrained."""

from vglamm_jax.config import ClipConfig, HieraConfig, InternVideo2Config, LlmConfig, Sam2Config, VideoGlammConfig


def get_config() -> VideoGlammConfig:
    return VideoGlammConfig(
        clip=ClipConfig(image_size=56, patch_size=14, width=32, depth=3, heads=2, mlp_width=64),
        internvideo2=InternVideo2Config(
            image_size=56, patch_size=14, frames=4, width=48, depth=3, heads=4, mlp_width=96
        ),
        llm=LlmConfig(
            vocab=512,
            width=64,
            depth=2,
            heads=4,
            kv_heads=4,
            head_dim=16,
            mlp_width=128,
            max_positions=1024,
            window=256,
            fused=True,
        ),
        sam2=Sam2Config(
            image_size=128,
            hiera=HieraConfig(width=16, heads=1, stages=(1, 2, 3, 1), windows=(8, 4, 8, 4), global_blocks=(4,)),
            memory_attention_depth=1,
            memory_attention_mlp=64,
            memory_fuser_depth=1,
            decoder_mlp=64,
        ),
        seg_token_id=511,
        stop_ids=(500, 507),  # <|endoftext|> and <|end|> of the toy tokenizer
    )
