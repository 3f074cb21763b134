"""Adapters in PEFT's format, in and out, and the release of VideoGPT+ (facts 2.6).

An adapter folder holds `adapter_config.json` and `adapter_model.safetensors` (or `.bin`). Besides factors of the
language model's matrices it may hold `embed_tokens` and `lm_head`, trained as a whole: they come as plain tensors
that take the place of the base model's, `{**base, **adapter}`.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from vglamm_jax.config import LlmConfig, LoraConfig
from vglamm_jax.convert import peft_config
from vglamm_jax.convert.peft_names import factor_shapes, last_parts, misfits, strip_peft, target_names, wrap_peft
from vglamm_jax.convert.sizes import read_json
from vglamm_jax.convert.torch_io import CheckpointError, LazyTensor, open_tensors

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILES = ("adapter_model.safetensors", "adapter_model.bin")
PROJECTORS_FILE = "non_lora_trainables.bin"
PLAIN = {"model.embed_tokens.weight": "embed_tokens", "lm_head.weight": "lm_head"}


def read_adapter(folder: Path, llm: LlmConfig | None = None) -> tuple[LoraConfig, dict[str, LazyTensor]]:
    """LoRA and its tensors under canonical names: the factors, and `embed_tokens` and `lm_head` if they are there.

    Args:
      folder: as PEFT's `save_pretrained` writes it; tensors may also carry the names of an in-memory state dict.
      llm: sizes of the model it is for; None checks only that the tensors fit each other.

    Raises:
      FileNotFoundError: no adapter there.
      CheckpointError: names every setting that this model cannot have, and every tensor that is missing,
        unexpected or of another shape.
    """
    folder = Path(folder)
    weights = _weights_file(folder)
    path = folder / CONFIG_FILE
    values = read_json(path)
    tensors = _canonical(weights)
    settings = peft_config.problems(values)
    plain = {name: tensor for name, tensor in tensors.items() if name in PLAIN}
    factors = {name: tensor for name, tensor in tensors.items() if name not in PLAIN}
    rank = values.get("r") if isinstance(values.get("r"), int) else 0
    lost = misfits(factors, factor_shapes(factors, rank, llm, _stated(values, llm)))
    if not factors:
        lost.append("it holds no factors (`...lora_A.weight`)")
    if settings or lost:
        lines = [*(f"{path.name}: {line}" for line in settings), *(f"{weights.name}: {line}" for line in lost)]
        remedy = f"; {peft_config.REMEDY}" if settings else ""
        raise CheckpointError("\n  ".join([f"{folder}: this adapter cannot be used{remedy}", *lines]))
    return peft_config.lora_config(values, last_parts(target_names(factors))), factors | plain


def _weights_file(folder: Path) -> Path:
    found = [folder / name for name in WEIGHTS_FILES if (folder / name).is_file()]
    if not found or not (folder / CONFIG_FILE).is_file():
        raise FileNotFoundError(f"{folder}: no PEFT adapter: it has {CONFIG_FILE} and {' or '.join(WEIGHTS_FILES)}")
    return found[0]


def _canonical(file: Path) -> dict[str, LazyTensor]:
    tensors = open_tensors(file)
    try:
        return strip_peft(tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from error


def _stated(values: Mapping[str, object], llm: LlmConfig | None) -> list[str]:
    """Matrices of this model that the config lists by their last name; a pattern says nothing that tensors do not."""
    listed = values.get("target_modules")
    if llm is None or not isinstance(listed, list):
        return []
    return [name for name in llm.linears if name.rpartition(".")[2] in listed]


def read_videogpt(folder: Path, llm: LlmConfig | None = None) -> tuple[LoraConfig, dict[str, LazyTensor]]:
    """The release of VideoGPT+: its adapter, and both projectors under canonical names (`model.mm_projector.0.weight`).

    Raises:
      FileNotFoundError: the adapter or `non_lora_trainables.bin` is not there.
      CheckpointError: as `read_adapter`, and for projector tensors that are missing or unexpected.
    """
    path = Path(folder) / PROJECTORS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: no {PROJECTORS_FILE}; copy the whole folder of the VideoGPT+ release")
    lora, tensors = read_adapter(folder, llm)
    projectors = _canonical(path)
    wanted = [
        f"model.{name}.{layer}.{leaf}"
        for name in ("mm_projector", "image_mm_projector")
        for layer in (0, 2)
        for leaf in ("weight", "bias")
    ]
    lost = misfits(projectors, {name: projectors[name].shape if name in projectors else () for name in wanted})
    if lost:
        raise CheckpointError("\n  ".join([f"{path}: not the projectors of VideoGPT+:", *lost]))
    return lora, tensors | projectors


def write_adapter(folder: Path, lora: LoraConfig, tensors: Mapping[str, LazyTensor], base: str) -> None:
    """Writes an adapter that `peft.PeftModel.from_pretrained(base_model, folder)` loads.

    Args:
      folder: made if it is not there; an adapter in it is overwritten, file by file.
      tensors: canonical names; the factors of every layer, `embed_tokens` and `lm_head` if they were trained.
      base: name or path of the base model, for `base_model_name_or_path`.

    Raises:
      CheckpointError: names tensors that are missing, unexpected or of another shape.
    """
    factors = {name: tensor for name, tensor in tensors.items() if name not in PLAIN}
    lost = misfits(factors, factor_shapes(factors, lora.rank, None))
    targets = set(last_parts(target_names(factors)))
    if targets != set(lora.targets):
        lost.append(f"factors of {sorted(targets)}, but LoRA is said to adapt {sorted(lora.targets)}")
    if lost:
        raise CheckpointError("\n  ".join([f"{folder}: not a whole adapter:", *lost]))
    whole = [PLAIN[name] for name in PLAIN if name in tensors]
    values = peft_config.settings(lora, whole, base)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {wrap_peft(name): np.ascontiguousarray(tensor.read()) for name, tensor in tensors.items()}
    save_file(arrays, folder / WEIGHTS_FILES[0], metadata={"format": "pt"})
    (folder / CONFIG_FILE).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
