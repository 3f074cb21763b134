"""Names that PEFT gives to tensors, and which factors an adapter must have (facts 2.6, 2.7).

Canonical names are those of the plain model, the factors beside the matrix they adapt:
`model.layers.0.self_attn.qkv_proj.weight`, `....qkv_proj.lora_A.weight`, `....qkv_proj.lora_B.weight`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TypeVar

from vglamm_jax.config import LlmConfig
from vglamm_jax.convert.engine import LISTED, nearest
from vglamm_jax.convert.rows import Shape
from vglamm_jax.convert.torch_io import CheckpointError, LazyTensor

WRAPPED = "base_model."
ORIGINAL = ".original_module."  # beside a trained copy of the same module
# In memory, names have the adapter's name in them: `lora_A.default.weight`, `lm_head.modules_to_save.default.weight`.
NAMED_FACTOR = re.compile(r"\.(lora_\w+)\.([^.]+)\.(weight|bias)$")
NAMED_MODULE = re.compile(r"\.modules_to_save\.([^.]+)\.")
FACTOR = re.compile(r"^(?P<matrix>.+)\.lora_(?P<side>[AB])\.weight$")
BLOCK = re.compile(r"^model\.layers\.(?P<layer>\d+)\.(?P<name>(self_attn|mlp)\.\w+)$")
# Of `LlmConfig.linears`, fused or not.
ORDER = (
    *("qkv_proj", "q_proj", "k_proj", "v_proj", "o_proj"),
    *("gate_up_proj", "gate_proj", "up_proj", "down_proj"),
)

T = TypeVar("T")
Factors = dict[str, dict[str, LazyTensor]]  # matrix -> {"A": tensor, "B": tensor}


def strip_peft(tensors: Mapping[str, T]) -> dict[str, T]:
    """The same tensors under canonical names; names that PEFT did not touch stay.

    Takes every form there is: an adapter file, an in-memory state dict (`lora_A.default.weight`,
    `modules_to_save.default`) with `base_layer.weight` or, by an older PEFT, plain `weight`, the projectors of
    VideoGPT+, and dictionaries without any of it. Of a module trained as a whole its trained copy is taken.

    Raises:
      CheckpointError: several adapters in one dictionary, or two names that mean the same tensor.
    """
    adapters = {match.group(2) for name in tensors if (match := NAMED_FACTOR.search(name))}
    adapters |= {match.group(1) for name in tensors if (match := NAMED_MODULE.search(name))}
    if not adapters and not any(name.startswith(WRAPPED) for name in tensors):
        return dict(tensors)
    if len(adapters) > 1:
        raise CheckpointError(f"holds several adapters ({', '.join(sorted(adapters))}); save the one you want alone")
    trained = {NAMED_MODULE.split(name)[0] for name in tensors if NAMED_MODULE.search(name)}
    untrained = {name for name in tensors if ORIGINAL in name and name.split(ORIGINAL)[0] in trained}
    kept = [name for name in tensors if name not in untrained]
    names = _unprefixed({name: _unwrapped(name) for name in kept})
    doubles = [name for name, times in Counter(names.values()).items() if times > 1]
    if doubles:
        both = [name for name in kept if names[name] == doubles[0]]
        raise CheckpointError(f"{' and '.join(both)} are the same tensor ({len(doubles)} such pairs)")
    return {names[name]: tensors[name] for name in kept}


def _unwrapped(name: str) -> str:
    name = NAMED_MODULE.sub(".", name.replace(".base_layer.", ".").replace(ORIGINAL, "."))
    return NAMED_FACTOR.sub(r".\1.\3", name)


def _unprefixed(names: Mapping[str, str]) -> dict[str, str]:
    """Without `base_model.`, and without one more `model.` where the wrapped model was a whole one (facts 2.6)."""
    names = {old: new.removeprefix(WRAPPED) for old, new in names.items()}
    if any(new.startswith(("model.model.", "model.lm_head.")) for new in names.values()):
        names = {old: new.removeprefix("model.") for old, new in names.items()}
    return names


def wrap_peft(name: str) -> str:
    """The name of a canonical tensor in an adapter file."""
    return f"{WRAPPED}model.{name}"


def factors_of(tensors: Mapping[str, LazyTensor]) -> Factors:
    """The factors by the matrix they adapt, whole pairs or not."""
    found: Factors = {}
    for name, tensor in tensors.items():
        if match := FACTOR.match(name):
            found.setdefault(match["matrix"], {})[match["side"]] = tensor
    return found


def matrix_shape(pair: Mapping[str, LazyTensor]) -> tuple[int, int]:
    """[outputs, inputs] of the matrix that a pair of factors adapts; 0 for what a damaged one does not say."""
    return (*pair["B"].shape, 0)[0], (0, *pair["A"].shape)[-1]


def target_names(tensors: Mapping[str, LazyTensor]) -> list[str]:
    """Adapted matrices as parts of a block, `self_attn.qkv_proj`, each once, in the model's order."""
    found = {match["name"] for matrix in factors_of(tensors) if (match := BLOCK.match(matrix))}
    leaves = {name: name.rpartition(".")[2] for name in found}
    return sorted(found, key=lambda name: (ORDER.index(leaves[name]) if leaves[name] in ORDER else len(ORDER), name))


def last_parts(names: Iterable[str]) -> tuple[str, ...]:
    """Names of matrices as `LoraConfig.targets` has them."""
    return tuple(name.rpartition(".")[2] for name in names)


def factor_shapes(
    tensors: Mapping[str, LazyTensor], rank: int, llm: LlmConfig | None, stated: Iterable[str] = ()
) -> dict[str, Shape]:
    """Name -> shape of every factor there must be for the same targets in every layer.

    Args:
      tensors: under canonical names; they say which matrices are targets.
      llm: the model's sizes; None to take those of the first pair of each target and the highest layer there is.
      stated: targets that must be there besides.
    """
    pairs = factors_of(tensors)
    places = [(match, pairs[matrix]) for matrix in pairs if (match := BLOCK.match(matrix))]
    depth = llm.depth if llm is not None else max((int(match["layer"]) + 1 for match, _ in places), default=0)
    if llm is not None:
        named = [name for name in llm.linears if name in {*target_names(tensors), *stated}]
        sizes = {name: llm.linears[name] for name in named}
    else:
        sizes = {match["name"]: matrix_shape(pair)[::-1] for match, pair in reversed(places) if len(pair) == 2}
    shapes: dict[str, Shape] = {}
    for layer in range(depth):
        for name, (inputs, outputs) in sizes.items():
            prefix = f"model.layers.{layer}.{name}.lora_"
            shapes |= {f"{prefix}A.weight": (rank, inputs), f"{prefix}B.weight": (outputs, rank)}
    return shapes


def misfits(tensors: Mapping[str, LazyTensor], wanted: Mapping[str, Shape]) -> list[str]:
    """One line for every kind of problem: missing, unexpected and mis-shaped factors."""
    missing = [name for name in wanted if name not in tensors]
    unexpected = [name for name in tensors if name not in wanted]
    misshaped = [
        f"{name} is {list(tensors[name].shape)}, should be {list(shape)}"
        for name, shape in wanted.items()
        if name in tensors and tensors[name].shape != tuple(shape)
    ]
    close = nearest(missing[:LISTED], unexpected) | nearest(unexpected[:LISTED], missing or list(wanted))
    lists = {"missing": missing, "unexpected": unexpected, "other shape": misshaped}
    return [f"{what} ({len(names)}): {_shown(names, close)}" for what, names in lists.items() if names]


def _shown(names: list[str], notes: Mapping[str, str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(notes.get(name, name) for name in names[:LISTED]) + more
