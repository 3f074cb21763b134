"""Floating-point operations of a training step, counted from the config: what model FLOPs utilisation divides by.

A matrix product of m x k by k x n counts 2 m k n. Norms, activations and softmax are not counted, and what remat
computes again is not either: they are work, but not the model's. With T tokens of width w, a transformer block of
attention over c keys and an MLP of width h costs

    2 T (4 w^2 + 2 w h)  +  4 T c w

forward. Backward costs as much again for the gradient of the inputs, and once more for that of the matrices learnt.
The frozen towers and SAM2's image encoder only run forward.
"""

import math
from collections.abc import Iterable

from vglamm_jax.config import HieraConfig, LlmConfig, Sam2Config, VideoGlammConfig
from vglamm_jax.train.config import TrainConfig

# Dense bfloat16 FLOP/s of one chip, by JAX's `device_kind`: cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e}.
PEAK = {
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
}


def of_step(cfg: TrainConfig, positions: int, learnt: Iterable[str] = ()) -> dict[str, float]:
    """FLOPs of one step of `batch_size` rows of so many positions, by part of the model.

    `learnt` holds the paths of the trainable parameters, `llm/blocks/mlp/down_proj/kernel`.
    """
    model, frames, slots = cfg.model, cfg.data.pack.frames, cfg.data.pack.slots
    once = {
        "clip": clip(model) if model.encoders != "video" else 0.0,
        "internvideo2": internvideo2(model) if model.encoders != "image" else 0.0,
        "projectors": projectors(model) * (2 + _any(learnt, "mm_projector") if _any(learnt, "mm_projector") else 1),
        "llm": llm(model.llm, positions) * 2 + llm_weights(model.llm, positions, learnt),
        "image_encoder": frames * image_encoder(model.sam2),
        "mask_decoder": frames * slots * mask_decoder(model.sam2) * (2 + _any(learnt, "mask_decoder")),
    }
    if cfg.decoder == "tracked":
        once["memory"] = max(0, frames - 1) * slots * memory_attention(model.sam2) * 2
    return {name: cfg.batch_size * value for name, value in once.items()}


def block(tokens: float, width: int, mlp: int, keys: float) -> float:
    """Forward, of one transformer block."""
    return 2 * tokens * (4 * width**2 + 2 * width * mlp) + 4 * tokens * keys * width


def clip(cfg: VideoGlammConfig) -> float:
    """Of all context frames of a row."""
    c = cfg.clip
    tokens, patches = c.grid**2 + 1, 2 * c.grid**2 * 3 * c.patch_size**2 * c.width
    return cfg.frames * (patches + c.blocks_run * block(tokens, c.width, c.mlp_width, tokens))


def internvideo2(cfg: VideoGlammConfig) -> float:
    """Of all clips of a row."""
    c = cfg.internvideo2
    cells = c.frames * c.grid**2
    patches = 2 * cells * 3 * c.patch_size**2 * c.width
    return cfg.clips * (patches + c.blocks_run * block(cells + 1, c.width, c.mlp_width, cells + 1))


def projectors(cfg: VideoGlammConfig) -> float:
    """Vision to language, of all tokens of a row before they are pooled."""
    width, flops = cfg.llm.width, 0.0
    if cfg.encoders != "video":
        flops += 2 * cfg.frames * cfg.clip.grid**2 * width * (cfg.clip.width + width)
    if cfg.encoders != "image":
        flops += 2 * cfg.frames * cfg.internvideo2.grid**2 * width * (cfg.internvideo2.width + width)
    return flops


def llm(cfg: LlmConfig, positions: int) -> float:
    """Forward, of a row; a causal query sees half of the others, and no more than the window."""
    matrices = sum(math.prod(sizes) for sizes in cfg.linears.values())
    keys = min((positions + 1) / 2, cfg.window or positions)
    attention = 4 * positions * keys * cfg.heads * cfg.head_dim
    head = 2 * positions * cfg.width * cfg.vocab
    return cfg.depth * (2 * positions * matrices + attention) + head


def llm_weights(cfg: LlmConfig, positions: int, learnt: Iterable[str]) -> float:
    """Gradients of those matrices of the language model that are learnt; LoRA also costs its way forward and back."""
    learnt, flops = list(learnt), 0.0
    for name, (inputs, outputs) in cfg.linears.items():
        leaf = name.rpartition(".")[2]
        if _any(learnt, f"{leaf}/kernel"):
            flops += 2 * cfg.depth * positions * inputs * outputs
        if cfg.lora is not None and _any(learnt, f"{leaf}/lora_a"):
            flops += 3 * 2 * cfg.depth * positions * cfg.lora.rank * (inputs + outputs)
    return flops + 2 * positions * cfg.width * cfg.vocab * _any(learnt, "lm_head/kernel")


def image_encoder(cfg: Sam2Config) -> float:
    """Hiera and its neck, of one frame."""
    hiera, side = cfg.hiera, cfg.image_size // 4
    flops = 2 * side**2 * 3 * 7 * 7 * hiera.width
    for stage, blocks in enumerate(hiera.stages):
        tokens, width = (side >> stage) ** 2, hiera.stage_width(stage)
        for number in range(hiera.first_block(stage), hiera.first_block(stage) + blocks):
            flops += block(tokens, width, 4 * width, _keys(hiera, stage, number, tokens))
        flops += 2 * tokens * width * cfg.width
    return flops


def _keys(hiera: HieraConfig, stage: int, number: int, tokens: int) -> int:
    return tokens if number in hiera.global_blocks else min(tokens, hiera.windows[stage] ** 2)


def mask_decoder(cfg: Sam2Config) -> float:
    """Of one object in one frame. Its few tokens are not counted: the image's cells are where the work is."""
    cells, width = cfg.grid**2, cfg.width
    halved = 2 * cells * width * (width // 2)  # attention there runs at half the width
    attention = (4 * cfg.decoder_depth + 2) * halved
    upscaling = 2 * cells * width * (width // 4) * 4 + 2 * 4 * cells * (width // 4) * (width // 8) * 4
    return attention + upscaling + 2 * 16 * cells * (width // 8)


def memory_attention(cfg: Sam2Config) -> float:
    """Of one object in one frame, with a full memory."""
    cells, width = cfg.grid**2, cfg.width
    keys = cfg.num_memories * cells + cfg.num_pointers * (width // cfg.memory_width)
    itself = block(cells, width, cfg.memory_attention_mlp, cells)
    others = 2 * (2 * cells * width**2 + 2 * keys * cfg.memory_width * width) + 4 * cells * keys * width
    return cfg.memory_attention_depth * (itself + others)


def utilisation(flops: float, seconds: float, kind: str, chips: int) -> float | None:
    """Share of what the chips could do; None for chips whose peak is not known here, a CPU's for instance."""
    return flops / seconds / (PEAK[kind] * chips) if kind in PEAK else None


def _any(paths: Iterable[str], part: str) -> bool:
    return any(part in path for path in paths)
