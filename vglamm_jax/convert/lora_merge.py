"""LoRA of a PyTorch checkpoint merged into its matrices, one tensor at a time, and LoRA read off a state dict."""

import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from vglamm_jax.config import LlmConfig, LoraConfig
from vglamm_jax.convert.peft_names import (
    FACTOR,
    factor_shapes,
    factors_of,
    last_parts,
    matrix_shape,
    misfits,
    target_names,
)
from vglamm_jax.convert.rows import Shape
from vglamm_jax.convert.torch_io import CheckpointError, LazyTensor

# What the original trains with (facts 5.2); a state dict does not say.
ORIGINAL_RANK, ORIGINAL_ALPHA, ORIGINAL_DROPOUT = 8, 16, 0.05


def merged(tensors: Mapping[str, LazyTensor], lora: LoraConfig) -> dict[str, LazyTensor]:
    """The tensors without LoRA: each adapted `weight` reads as `W + scale * B A`.

    Computed in float32 (float64 for float64 weights) and rounded once to the dtype of W; nothing is read before
    its tensor is, and one matrix with its update is all that is held then.

    Args:
      tensors: canonical names, the base and the factors together.

    Raises:
      CheckpointError: a factor without its other half or without its matrix, or shapes that do not fit.
    """
    pairs = factors_of(tensors)
    wanted: dict[str, Shape] = {}
    for matrix, pair in pairs.items():
        wanted |= _wanted(matrix, pair, lora.rank)
    problems = misfits({name: tensor for name, tensor in tensors.items() if name in wanted}, wanted)
    if problems:
        raise CheckpointError("\n  ".join([f"LoRA of rank {lora.rank} cannot be merged:", *problems]))
    return {
        name: _sum(tensor, pairs[name.removesuffix(".weight")], lora.scale) if name in wanted else tensor
        for name, tensor in tensors.items()
        if not FACTOR.match(name)
    }


def _wanted(matrix: str, pair: Mapping[str, LazyTensor], rank: int) -> dict[str, Shape]:
    """Shapes that a pair and its matrix must have; of half a pair, the half that must be there too."""
    if len(pair) < 2:
        return {f"{matrix}.lora_{side}.weight": () for side in "AB" if side not in pair}
    outputs, inputs = matrix_shape(pair)
    factors = {f"{matrix}.lora_A.weight": (rank, inputs), f"{matrix}.lora_B.weight": (outputs, rank)}
    return {f"{matrix}.weight": (outputs, inputs)} | factors


def _sum(base: LazyTensor, pair: Mapping[str, LazyTensor], scale: float) -> LazyTensor:
    def read() -> np.ndarray:
        wide = np.promote_types(np.float32, base.dtype)
        total = np.matmul(pair["B"].read().astype(wide), pair["A"].read().astype(wide))
        total *= wide.type(scale)
        total += base.read()
        return total.astype(base.dtype)

    return replace(base, read=read)


def state_dict_lora(
    tensors: Mapping[str, LazyTensor], llm: LlmConfig | None = None, alpha: float | None = None
) -> LoraConfig | None:
    """The LoRA in a training state dict (canonical names), None if it holds none.

    Rank and targets are in the shapes and names. Alpha and dropout are not: without `alpha`, rank 8 is taken
    for the original's own training, alpha 16, with a warning that says so.

    Raises:
      CheckpointError: factors that are missing, unexpected or of other shapes, or another rank without `alpha`.
    """
    found = {name: tensor for name, tensor in tensors.items() if ".lora_" in name}
    if not found:
        return None
    ranks = Counter((*tensor.shape, 0)[0] for name, tensor in found.items() if name.endswith(".lora_A.weight"))
    rank = ranks.most_common(1)[0][0] if ranks else 0
    problems = misfits(found, factor_shapes(found, rank, llm))
    if problems:
        raise CheckpointError("\n  ".join([f"its LoRA (rank {rank}) cannot be used:", *problems]))
    if alpha is None:
        if rank != ORIGINAL_RANK:
            raise CheckpointError(f"a state dict does not state LoRA's alpha; say which one this rank {rank} had")
        alpha = ORIGINAL_ALPHA
        warnings.warn(f"LoRA of rank {rank}: alpha is not stored, taking the original's {alpha}", stacklevel=2)
    return LoraConfig(rank=rank, alpha=alpha, targets=last_parts(target_names(found)), dropout=ORIGINAL_DROPOUT)
