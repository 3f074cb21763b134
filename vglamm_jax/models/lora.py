"""Low-rank adaptation of the language model: `x W + dropout(x) A B * scale` (facts 5.2).

A and B lie beside the kernel they adapt (`qkv_proj/kernel`, `qkv_proj/lora_a`, `qkv_proj/lora_b`), so that
names, checkpoints and sharding of the base stay what they are without LoRA.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from vglamm_jax.config import LlmConfig, LoraConfig
from vglamm_jax.models import layers

Module = TypeVar("Module", bound=nnx.Module)
FEW_ROWS = 64  # of a decoding step, not of a prompt


class LoRAParam(nnx.Param):
    """A low-rank factor. In filters it must come before `nnx.Param`, of which it is a kind."""


class LoRALinear(nnx.Linear):
    """A matrix without bias, kernel [inputs, outputs], with lora_a [inputs, rank] and lora_b [rank, outputs].

    B starts at zero, A uniform as PyTorch's Linear does. `salt` tells the dropout of this matrix from that of
    the others, which all get the same key.
    """

    def __init__(self, inputs: int, outputs: int, lora: LoraConfig, salt: int, *, rngs: nnx.Rngs):
        super().__init__(inputs, outputs, use_bias=False, rngs=rngs)
        self.lora, self.salt = lora, salt
        self.lora_a = LoRAParam(_initial_a(rngs, (inputs, lora.rank)))
        self.lora_b = LoRAParam(jnp.zeros((lora.rank, outputs)))

    def __call__(self, x: jax.Array, dropout: jax.Array | None = None) -> jax.Array:
        """[..., inputs] -> [..., outputs] in the dtype of the plain matrix.

        `dropout` is a key, or keys [B] for the rows of x [B, ..., inputs]: what is dropped of a row then depends on
        its own key alone, not on the rows beside it. None turns it off.
        """
        y = super().__call__(x)
        return y + (self.low_rank(x, dropout) @ self.lora_b[...] * self.lora.scale).astype(y.dtype)

    def low_rank(self, x: jax.Array, dropout: jax.Array | None = None) -> jax.Array:
        """[..., inputs] -> [..., rank]."""
        a = self.lora_a[...]
        x = x.astype(a.dtype)
        if dropout is not None and self.lora.dropout:
            keep = _kept(folded(dropout, self.salt), 1 - self.lora.dropout, x.shape)
            x = jnp.where(checkpoint_name(keep, layers.KEPT), x / (1 - self.lora.dropout), 0)
        return x @ a

    def merged_kernel(self) -> jax.Array:
        """`W + scale * A B`, computed in float32 and rounded once, to the kernel's dtype."""
        kernel, a, b = (p[...].astype(jnp.float32) for p in (self.kernel, self.lora_a, self.lora_b))
        delta = jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
        return (kernel + self.lora.scale * delta).astype(self.kernel[...].dtype)


def folded(keys: jax.Array, number: jax.Array | int) -> jax.Array:
    """A key, or each of several, mixed with a number."""
    fold = jax.random.fold_in
    return jax.vmap(fold, (0, None))(keys, number) if keys.ndim else fold(keys, number)


def _kept(keys: jax.Array, rate: float, shape: tuple[int, ...]) -> jax.Array:
    """Bool; True with this probability. Each random word serves two numbers: drawing them takes most of the time."""
    if keys.ndim:
        return jax.vmap(lambda key: _kept(key, rate, shape[1:]))(keys)
    words = jax.random.bits(keys, (*shape[:-1], -(-shape[-1] // 2)), jnp.uint32)
    numbers = jnp.concatenate([words & 0xFFFF, words >> 16], axis=-1)[..., : shape[-1]]
    return numbers < round(rate * 2**16)


def _initial_a(rngs: nnx.Rngs, shape: tuple[int, ...]) -> jax.Array:
    """Kaiming-uniform with a = sqrt(5): uniform within 1 / sqrt(inputs)."""
    bound = shape[-2] ** -0.5
    return jax.random.uniform(rngs.params(), shape, minval=-bound, maxval=bound)


def adapted(cfg: LlmConfig) -> dict[str, tuple[int, int]]:
    """The matrices of a block that `cfg.lora` adapts, in the model's order: `self_attn.qkv_proj` -> sizes.

    Raises:
      ValueError: a target that the model has not; names those there are. A rank below 1, a dropout outside [0, 1).
    """
    if cfg.lora is None:
        return {}
    if cfg.lora.rank < 1:
        raise ValueError(f"llm.lora.rank={cfg.lora.rank} must be at least 1; for no LoRA leave llm.lora out")
    if not 0 <= cfg.lora.dropout < 1:
        raise ValueError(f"llm.lora.dropout={cfg.lora.dropout} must be at least 0 and below 1")
    leaves = {name.rpartition(".")[2]: name for name in cfg.linears}
    unknown = sorted(set(cfg.lora.targets) - set(leaves))
    if unknown or not cfg.lora.targets:
        raise ValueError(
            f"llm.lora.targets: {', '.join(unknown) or 'none given'}; this model has {', '.join(leaves)} "
            '(`llm.lora_targets("q_proj,v_proj")` finds them by parts of their names)'
        )
    return {name: cfg.linears[name] for leaf, name in leaves.items() if leaf in cfg.lora.targets}


def linear(cfg: LlmConfig, name: str, rngs: nnx.Rngs) -> nnx.Linear:
    """The matrix `name` of `cfg.linears`, with LoRA where `cfg.lora` says so."""
    inputs, outputs = cfg.linears[name]
    if name in adapted(cfg):
        return LoRALinear(inputs, outputs, cfg.lora, list(cfg.linears).index(name), rngs=rngs)
    return nnx.Linear(inputs, outputs, use_bias=False, rngs=rngs)


def apply(matrix: nnx.Linear, x: jax.Array, dropout: jax.Array | None = None) -> jax.Array:
    """The matrix on x; only those with LoRA have a use for the key."""
    y = matrix(x, dropout) if isinstance(matrix, LoRALinear) else matrix(x)
    return checkpoint_name(y, layers.KEPT)


def apply_cut(
    matrix: nnx.Linear, x: jax.Array, sizes: Sequence[int], dropout: jax.Array | None = None, width: int | None = None
) -> list[jax.Array]:
    """`apply` on x [B, rows, inputs], cut into pieces of so many columns; with `width` into heads [..., n, width].

    Where rows are many, a product with columns of the kernel for each piece: what is cut afterwards is copied, and its
    gradient put together again. For few rows cutting the kernel takes longer.
    """
    ends = list(itertools.accumulate(sizes))
    shape = lambda y: y if width is None else y.reshape(*y.shape[:-1], -1, width)  # noqa: E731
    if x.shape[-2] <= FEW_ROWS:
        return [shape(y) for y in jnp.split(apply(matrix, x, dropout), ends[:-1], axis=-1)]
    low = matrix.low_rank(x, dropout) if isinstance(matrix, LoRALinear) else None

    def piece(columns: slice) -> jax.Array:
        y = _product(x, shape(matrix.kernel[...][:, columns]))
        if low is not None:
            y = y + (_product(low, shape(matrix.lora_b[...][:, columns])) * matrix.lora.scale).astype(y.dtype)
        return checkpoint_name(y, layers.KEPT)

    return [piece(slice(end - size, end)) for size, end in zip(sizes, ends)]


def _product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jnp.einsum("btw,wc->btc" if kernel.ndim == 2 else "btw,whd->bthd", x, kernel)


def apply_joined(matrix: nnx.Linear, x: jax.Array, dropout: jax.Array | None = None) -> jax.Array:
    """`apply` on heads side by side: [B, rows, heads, width] -> [B, rows, outputs]."""
    if isinstance(matrix, LoRALinear) or x.shape[1] <= FEW_ROWS:
        return apply(matrix, x.reshape(*x.shape[:2], -1), dropout)
    return checkpoint_name(layers.from_heads(matrix, x), layers.KEPT)


def attach(model: Module, lora: LoraConfig, rngs: nnx.Rngs) -> Module:
    """The same model with new, still ineffective LoRA in its language model; shares the arrays.

    Args:
      model: a `CausalLM`, or a model that has one, with weights; its blocks a stack or a list.

    Raises:
      ValueError: unknown targets, or a model that has LoRA already (merge it first).
    """

    def wrapped(name: str, cfg: LlmConfig, plain: nnx.Linear) -> nnx.Linear:
        if isinstance(plain, LoRALinear):
            raise ValueError("this model has LoRA already: merge it before attaching another")
        if name not in adapted(cfg):
            return plain
        shell = layers.abstract(linear, cfg, name)
        lead = plain.kernel[...].shape[:-2]
        inputs, outputs = cfg.linears[name]
        a, b = _initial_a(rngs, (*lead, inputs, lora.rank)), jnp.zeros((*lead, lora.rank, outputs))
        shell.kernel, shell.lora_a, shell.lora_b = plain.kernel, LoRAParam(a), LoRAParam(b)
        return shell

    return _rebuilt(model, lora, wrapped)


def merge(model: Module) -> Module:
    """The same model without LoRA: kernels become `W + scale * A B` (see `merged_kernel`), the rest is shared.

    Args:
      model: a `CausalLM`, or a model that has one; its blocks a stack or a list. One without LoRA comes back equal.
    """

    def plain(name: str, cfg: LlmConfig, matrix: nnx.Linear) -> nnx.Linear:
        if not isinstance(matrix, LoRALinear):
            return matrix
        shell = layers.abstract(linear, cfg, name)
        shell.kernel = nnx.Param(matrix.merged_kernel())
        return shell

    return _rebuilt(model, None, plain)


def _rebuilt(
    model: Module, lora: LoraConfig | None, replace: Callable[[str, LlmConfig, nnx.Linear], nnx.Linear]
) -> Module:
    """A copy of the modules, arrays shared, with every matrix of the blocks replaced and configs to match."""
    model = jax.tree.map(lambda x: x, model)
    modules = [module for _, module in nnx.iter_modules(model)]
    llm = next((m for m in modules if isinstance(getattr(m, "cfg", None), LlmConfig) and hasattr(m, "blocks")), None)
    if llm is None:
        raise ValueError(f"{type(model).__name__} holds no language model to adapt")
    cfg = dataclasses.replace(llm.cfg, lora=lora)
    names = {name.rpartition(".")[2]: name for name in cfg.linears}
    for module in modules:
        module_cfg = getattr(module, "cfg", None)
        if module_cfg is not None:
            module.cfg = _with_llm(module_cfg, cfg)
    for module in [module for _, module in nnx.iter_modules(llm.blocks)]:
        for leaf, name in names.items():
            if isinstance(getattr(module, leaf, None), nnx.Linear):
                setattr(module, leaf, replace(name, cfg, getattr(module, leaf)))
    return model


def _with_llm(cfg: Any, llm: LlmConfig) -> Any:
    if isinstance(cfg, LlmConfig):
        return llm
    return dataclasses.replace(cfg, llm=llm) if isinstance(getattr(cfg, "llm", None), LlmConfig) else cfg
