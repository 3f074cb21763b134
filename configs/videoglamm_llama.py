"""VideoGLaMM around a Llama or a SmolLM2: `videoglamm_llama:3.1-8b`, `:3.2-1b`, `:smollm2-360m` and the others below.

The towers are those of the published model. No such checkpoint is published: train one, from the instruct release.

    vglamm convert Llama-3.2-1B-Instruct clip-vit-large-patch14-336 InternVideo2-stage2_1b-224p-f4.pt \\
        sam2_hiera_large.pt weights/start
    vglamm train --config train_adapters:videoglamm_llama:3.2-1b
    vglamm train --config train_lora:videoglamm_llama:3.2-1b

[SEG] is a token more than the release has; its row begins as the mean of the others.
"""

import dataclasses

from vglamm_jax.config import LlmConfig, RopeScaling, VideoGlammConfig, load_config


def llama(width: int, depth: int, heads: int, head_dim: int, mlp_width: int, factor: float, tied: bool) -> LlmConfig:
    return LlmConfig(
        vocab=128257,
        width=width,
        depth=depth,
        heads=heads,
        kv_heads=8,
        head_dim=head_dim,
        mlp_width=mlp_width,
        max_positions=131072,
        rope_theta=500000.0,
        rope_scaling=RopeScaling(factor=factor, low_freq_factor=1.0, high_freq_factor=4.0, original_max_positions=8192),
        tie_embeddings=tied,
    )


def smollm2(width: int, depth: int, heads: int, kv_heads: int, mlp_width: int, rope_theta: float) -> LlmConfig:
    return LlmConfig(
        vocab=49153,
        width=width,
        depth=depth,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=64,
        mlp_width=mlp_width,
        max_positions=8192,
        rope_theta=rope_theta,
        tie_embeddings=True,
    )


LLAMAS = {
    "3.1-8b": llama(4096, 32, 32, 128, 14336, factor=8.0, tied=False),
    "3.2-3b": llama(3072, 28, 24, 128, 8192, factor=32.0, tied=True),
    "3.2-1b": llama(2048, 16, 32, 64, 8192, factor=32.0, tied=True),
}
SMOLLMS = {
    "smollm2-1.7b": smollm2(2048, 24, 32, 32, 8192, rope_theta=130000.0),
    "smollm2-360m": smollm2(960, 32, 15, 5, 2560, rope_theta=100000.0),
    "smollm2-135m": smollm2(576, 30, 9, 3, 1536, rope_theta=100000.0),
}


def get_config(name: str = "3.1-8b") -> VideoGlammConfig:
    """Raises ValueError for an unknown name."""
    published = load_config("videoglamm_phi3")
    if name in LLAMAS:
        ends = (128001, 128008, 128009)
        tokens = {"seg_token_id": 128256, "stop_ids": ends, "pad_token_id": 128004, "template": "llama3"}
        return dataclasses.replace(published, llm=LLAMAS[name], **tokens)
    if name in SMOLLMS:
        tokens = {"seg_token_id": 49152, "stop_ids": (0, 2), "pad_token_id": 2, "template": "chatml"}
        return dataclasses.replace(published, llm=SMOLLMS[name], **tokens)
    raise ValueError(f"no language model {name!r} here: use {', '.join((*LLAMAS, *SMOLLMS))}")
