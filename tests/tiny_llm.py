"""Tiny language models in PyTorch and here with the same weights: fused as Phi-3, separate as Llama."""

import dataclasses

import jax
import numpy as np

from vglamm_jax.config import LlmConfig
from vglamm_jax.convert import engine, tables
from vglamm_jax.convert.tables_lora import lora as lora_rows
from vglamm_jax.convert.torch_io import LazyTensor
from vglamm_jax.models import layers
from vglamm_jax.models.llm import CausalLM

LLAMA = LlmConfig(
    vocab=100, width=32, depth=2, heads=4, kv_heads=2, head_dim=8, mlp_width=40, max_positions=64
)  # fmt: skip
PHI3 = dataclasses.replace(LLAMA, fused=True, window=64)


def torch_llm(cfg: LlmConfig):
    """The model of `transformers` with random weights."""
    import torch
    import transformers

    torch.manual_seed(0)
    sizes = {
        "vocab_size": cfg.vocab, "hidden_size": cfg.width, "num_hidden_layers": cfg.depth,
        "num_attention_heads": cfg.heads, "num_key_value_heads": cfg.kv_heads, "intermediate_size": cfg.mlp_width,
        "max_position_embeddings": cfg.max_positions, "rms_norm_eps": cfg.norm_eps, "initializer_range": 0.2,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    kind = "Phi3" if cfg.fused else "Llama"
    config = getattr(transformers, f"{kind}Config")(**sizes)
    return getattr(transformers, f"{kind}ForCausalLM")(config).eval()


def lazy(value: np.ndarray, file: str = "memory") -> LazyTensor:
    return LazyTensor(value.shape, value.dtype, lambda: value, file)


def lazy_state(model) -> dict[str, LazyTensor]:
    return {name: lazy(value.detach().numpy()) for name, value in model.state_dict().items()}


def filled(cfg: LlmConfig, tensors, dtype=np.float32) -> CausalLM:
    """Our model with these tensors, LoRA included where `cfg.lora` has it."""
    module = layers.abstract(CausalLM, cfg)
    return engine.fill(module, engine.Part([*tables.llm(cfg), *lora_rows(cfg)], tensors), dtype=dtype)


def factors(model: CausalLM) -> dict[str, LazyTensor]:
    """Those of LoRA under canonical names."""
    named = engine.to_torch(model, [*tables.llm(model.cfg), *lora_rows(model.cfg)])
    return {name: lazy(value) for name, value in named if ".lora_" in name}


@jax.jit
def _logits(llm: CausalLM, ids: jax.Array) -> jax.Array:
    hidden, _ = llm(llm.embed(ids), np.arange(ids.shape[1])[None])
    return llm.logits(hidden)[..., : llm.cfg.vocab]


def logits(llm: CausalLM, ids: np.ndarray) -> np.ndarray:
    return np.asarray(_logits(llm, ids))


def torch_logits(model, ids: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        return model(torch.tensor(ids)).logits.numpy()
