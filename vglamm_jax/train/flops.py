"""Floating-point operations of a training step, counted from the config: what model FLOPs utilisation divides by.

A matrix product of m x k by k x n counts 2 m k n. Norms, activations and softmax are not counted, and what remat
computes again is not either: they are work, but not the model's. With T tokens of width w, a transformer block of
attention over c keys and an MLP of width h costs

    2 T (4 w^2 + 2 w h)  +  4 T c w

forward. Backward costs as much again for the gradient of the inputs, and once more for that of the matrices learnt;
both factors of an attention's products are inputs, so that it always costs twice as much. The frozen towers and SAM2's
image encoder only run forward.
"""

import math
from collections.abc import Iterable

from vglamm_jax import chips
from vglamm_jax.config import HieraConfig, LlmConfig, Sam2Config, VideoGlammConfig
from vglamm_jax.train.config import TrainConfig


def of_step(cfg: TrainConfig, positions: int, learnt: Iterable[str] = ()) -> dict[str, float]:
    """FLOPs of one step of `batch_size` rows of so many positions, by part of the model.

    `learnt` holds the paths of the trainable parameters, `llm/blocks/mlp/down_proj/kernel`.
    """
    model, frames, slots = cfg.model, cfg.data.pack.frames, cfg.data.pack.slots
    learnt = list(learnt)
    once = {
        "clip": clip(model) if model.encoders != "video" else 0.0,
        "internvideo2": internvideo2(model) if model.encoders != "image" else 0.0,
        "projectors": projectors(model, _any(learnt, "mm_projector")),
        "llm": llm(model.llm, positions) + llm_gradients(model.llm, positions, learnt),
        "image_encoder": frames * image_encoder(model.sam2),
        "mask_decoder": frames * slots * mask_decoder(model.sam2) * (2 + _any(learnt, "mask_decoder")),
    }
    if cfg.decoder == "tracked":
        once["memory"] = slots * memory(model.sam2, frames) * (2 + _any(learnt, "memory_attention"))
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


def projectors(cfg: VideoGlammConfig, learnt: bool = False) -> float:
    """Vision to language, of all tokens of a row before they are pooled; their inputs need no gradient."""
    width, flops = cfg.llm.width, 0.0
    towers = [(cfg.clip, cfg.encoders != "video"), (cfg.internvideo2, cfg.encoders != "image")]
    for tower, there in towers:
        first, second = (2 if learnt else 1) * tower.width, (3 if learnt else 1) * width
        flops += there * 2 * cfg.frames * tower.grid**2 * width * (first + second)
    return flops


def llm(cfg: LlmConfig, positions: int) -> float:
    """Forward, of a row."""
    matrices = sum(math.prod(sizes) for sizes in cfg.linears.values())
    head = 2 * positions * cfg.width * cfg.vocab
    return cfg.depth * 2 * positions * matrices + llm_attention(cfg, positions) + head


def llm_attention(cfg: LlmConfig, positions: int) -> float:
    """Forward: query i sees i + 1 keys, but no more than the window."""
    window = min(cfg.window or positions, positions)
    pairs = window * (window + 1) / 2 + (positions - window) * window
    return cfg.depth * 4 * pairs * cfg.heads * cfg.head_dim


def llm_gradients(cfg: LlmConfig, positions: int, learnt: Iterable[str]) -> float:
    """Of the inputs, and of those matrices that are learnt; LoRA also costs its way forward and back."""
    flops = llm(cfg, positions) + llm_attention(cfg, positions)
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


def memory(cfg: Sam2Config, frames: int) -> float:
    """Attention of one object's frames to those before, of which memory holds as many as there are by then."""
    cells, width, narrow, flops = cfg.grid**2, cfg.width, cfg.memory_width, 0.0
    for before in range(1, frames):
        keys = min(before, cfg.num_memories) * cells + min(before, cfg.num_pointers) * (width // narrow)
        itself = block(cells, width, cfg.memory_attention_mlp, cells)
        # Values are projected after they are averaged.
        projected = 2 * (2 * cells * width**2 + keys * narrow * width + cells * narrow * width)
        flops += itself + projected + 2 * cells * keys * (width + narrow)
    return cfg.memory_attention_depth * flops


def utilisation(flops: float, seconds: float, kind: str, devices: int) -> float | None:
    """Share of what the devices could do; None for a kind whose peak is not known, a CPU's for instance."""
    chip = chips.of_kind(kind)
    return None if chip is None else flops / seconds / (chip.flops * devices)


def _any(paths: Iterable[str], part: str) -> bool:
    return any(part in path for path in paths)
