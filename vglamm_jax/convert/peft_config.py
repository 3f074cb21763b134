"""PEFT's `adapter_config.json`: what of it this model can be, and what must be refused."""

from collections.abc import Mapping
from typing import Any

from vglamm_jax.config import LoraConfig
from vglamm_jax.convert.torch_io import CheckpointError

PLAIN_MODULES = ("embed_tokens", "lm_head")  # of `modules_to_save`: trained as a whole, kept as plain tensors
# Ways of drawing A and B that leave the base model as it was; the others change it (pissa, olora, loftq ...).
PLAIN_INITS = (True, False, None, "gaussian", "orthogonal", "eva")
READ = {"peft_type", "r", "lora_alpha", "lora_dropout", "use_rslora", "bias", "init_lora_weights", "modules_to_save"}
# No part in what a loaded adapter of matrices computes; which matrices it adapts, its tensors say.
HARMLESS = {
    *("auto_mapping", "base_model_name_or_path", "corda_config", "ensure_weight_tying", "eva_config"),
    *("exclude_modules", "fan_in_fan_out", "inference_mode", "layers_pattern", "loftq_config", "lora_ga_config"),
    *("megatron_config", "megatron_core", "peft_version", "qalora_group_size", "revision", "runtime_config"),
    *("target_modules", "task_type"),
}
# Settings that must be off, and what they would mean.
OFF = {
    "rank_pattern": "ranks that differ between matrices",
    "alpha_pattern": "alphas that differ between matrices",
    "use_dora": "DoRA, which scales every column",
    "layers_to_transform": "only some of the layers",
    "layer_replication": "layers that are used several times",
    "lora_bias": "a bias beside B",
    "target_parameters": "parameters outside of linear layers",
    "trainable_token_indices": "single rows of the embedding table",
}
REMEDY = "merge it with PEFT (`model.merge_and_unload().save_pretrained(FOLDER)`) and convert that folder instead"


def problems(values: Mapping[str, Any]) -> list[str]:
    """One line for every setting that cannot be represented here."""
    found = []
    if values.get("peft_type") != "LORA":
        found.append(f"peft_type is {values.get('peft_type')!r}, only 'LORA' can be read")
    for name, kind in (("r", int), ("lora_alpha", (int, float))):
        value = values.get(name)
        if not isinstance(value, kind) or isinstance(value, bool) or value <= 0:
            found.append(f"{name} is {value!r}, should be a number above 0")
    dropout = values.get("lora_dropout", 0.0)
    if not (isinstance(dropout, (int, float)) and 0 <= dropout < 1):
        found.append(f"lora_dropout is {dropout!r}, should be a number from 0 to below 1")
    if values.get("bias", "none") != "none":
        found.append(f"bias={values['bias']!r}: biases trained beside LoRA; this language model has none")
    if values.get("init_lora_weights", True) not in PLAIN_INITS:
        found.append(f"init_lora_weights={values['init_lora_weights']!r}: it changes the base model as well")
    others = [name for name in values.get("modules_to_save") or () if name.rpartition(".")[2] not in PLAIN_MODULES]
    if others:
        found.append(f"modules_to_save={others}: only {' and '.join(PLAIN_MODULES)} can be trained as a whole")
    found += [f"{name}={values[name]!r}: {meaning}" for name, meaning in OFF.items() if _on(values.get(name))]
    unknown = [name for name in values if values[name] and name not in READ | HARMLESS | set(OFF)]
    return found + [f"{name}={values[name]!r}: not known here" for name in unknown]


def _on(value: Any) -> bool:
    """0 is on: it may be the number of a layer."""
    return value not in (None, {}, []) and value is not False


def lora_config(values: Mapping[str, Any], targets: tuple[str, ...]) -> LoraConfig:
    return LoraConfig(
        rank=values["r"],
        alpha=values["lora_alpha"],
        targets=targets,
        dropout=float(values.get("lora_dropout", 0.0)),
        rslora=bool(values.get("use_rslora", False)),
    )


def settings(lora: LoraConfig, whole: list[str], base: str) -> dict[str, Any]:
    """The content of the file, with keys that every PEFT since 0.9 knows; `whole` are modules trained as a whole."""
    if lora.rank < 1:
        raise CheckpointError(f"LoRA of rank {lora.rank} cannot be written")
    return {
        "alpha_pattern": {},
        "auto_mapping": None,
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "layers_pattern": None,
        "layers_to_transform": None,
        "lora_alpha": int(lora.alpha) if lora.alpha == int(lora.alpha) else lora.alpha,
        "lora_dropout": lora.dropout,
        "modules_to_save": whole or None,
        "peft_type": "LORA",
        "r": lora.rank,
        "rank_pattern": {},
        "revision": None,
        "target_modules": list(lora.targets),
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": lora.rslora,
    }
