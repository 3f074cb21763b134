"""Stacks of equal blocks: one set of parameters with a leading layer axis, or a list of blocks.

Stacked is how models are built, sharded and saved: a 32-layer tower compiles as one layer. A list is
how they run fastest on a CPU, where scanning copies each layer's weights out of the stack first.
Every other layer comes from `flax.nnx`; it computes in the dtype of its parameters and inputs.
"""

import copy
import operator
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from vglamm_jax.sharding import Cuts, gathered

# What a backward pass computes again: nothing, each block, or all of it but what takes long: matrix products,
# attention, random numbers. These have the name KEPT (`jax.ad_checkpoint.checkpoint_name`).
Remat = bool | Literal["dots"]
KEPT = "kept"


def abstract(make: Callable[..., nnx.Module], *sizes: Any) -> nnx.Module:
    """The module `make(*sizes, rngs)` with shapes instead of arrays; no memory is used.

    Built once for equal sizes (a whole model takes a second); what is returned is a copy.
    """
    key = (make, *map(repr, sizes))
    if key not in _SHAPES:
        own = copy.deepcopy(sizes)
        _SHAPES[key] = nnx.eval_shape(lambda: make(*own, _one_key()))
    return jax.tree.map(lambda shape: shape, _SHAPES[key])


_SHAPES: dict[tuple, nnx.Module] = {}


class _OneKey(nnx.RngStream):
    """Gives the same key again and again: counting the draws would be most of the work of tracing shapes."""

    def __call__(self) -> jax.Array:
        return self.key[...]

    def split(self, k: int | tuple[int, ...]) -> "_OneKey":
        return type(self)(jax.random.split(self.key[...], k), tag=self.tag)


def _one_key() -> nnx.Rngs:
    rngs = nnx.Rngs(0)
    rngs.default = _OneKey(0, tag="default")
    return rngs


def stack(make_block: Callable[[nnx.Rngs], nnx.Module], depth: int, rngs: nnx.Rngs) -> nnx.Module:
    """One module whose every parameter has a leading axis [depth, ...]."""
    blocks = nnx.vmap(make_block)(rngs.split(depth))
    blocks.is_stack = True
    return blocks


def depth_of(blocks: nnx.Module) -> int:
    if isinstance(blocks, nnx.List):
        return len(blocks)
    return jax.tree.leaves(nnx.state(blocks))[0].shape[0]


def part(blocks: nnx.Module, start: int = 0, stop: int | None = None) -> nnx.Module:
    """Blocks [start, stop) of a stack or list."""
    if isinstance(blocks, nnx.List):
        return nnx.List(list(blocks)[start:stop])
    if start == 0 and (stop is None or stop >= depth_of(blocks)):
        return blocks
    return jax.tree.map(lambda p: p[start:stop], blocks)


def run(
    blocks: nnx.Module,
    x: Any,
    apply: Callable[[nnx.Module, Any], Any] = lambda block, x: block(x),
    *,
    remat: Remat = False,
    gather: Cuts | None = None,
) -> Any:
    """Passes `x` (any pytree) through all blocks in order, each as `x = apply(block, x)`.

    `gather`: the parameters of a block are collected from all devices just before it runs, kernels named here in
    pieces of so many columns, see `sharding.gathered`.
    """
    if gather is not None:
        apply = _of_gathered(apply, gather)
    if remat:
        policy = jax.checkpoint_policies.save_only_these_names(KEPT) if remat == "dots" else None
        apply = jax.checkpoint(apply, policy=policy, prevent_cse=False)
    if isinstance(blocks, nnx.List):
        for block in blocks:
            x = apply(block, x)
        return x
    return jax.lax.scan(lambda x, block: (apply(block, x), None), x, blocks)[0]


def in_parts(linear: nnx.Linear, x: jax.Array, count: int) -> list[jax.Array]:
    """`linear(x)` cut into equal parts of its columns, each a product of its own: none is copied out of the others."""
    parts = [x @ kernel for kernel in jnp.split(linear.kernel[...], count, axis=-1)]
    if linear.bias is None:
        return parts
    return [part + bias for part, bias in zip(parts, jnp.split(linear.bias[...], count))]


def into_heads(linear: nnx.Linear, x: jax.Array, heads: int, parts: int) -> list[jax.Array]:
    """As `in_parts`, [B, T, inputs] -> each part [B, T, heads, width]: heads cut in the product are not moved after."""
    kernels = jnp.split(linear.kernel[...], parts, axis=-1)
    biases = jnp.split(linear.bias[...], parts)
    return [
        jnp.einsum("btw,whd->bthd", x, kernel.reshape(len(kernel), heads, -1)) + bias.reshape(heads, -1)
        for kernel, bias in zip(kernels, biases)
    ]


def from_heads(linear: nnx.Linear, x: jax.Array) -> jax.Array:
    """`linear` of heads side by side: [B, T, heads, width] -> [B, T, outputs]."""
    y = jnp.einsum("bthd,hdw->btw", x, linear.kernel[...].reshape(*x.shape[2:], -1))
    return y if linear.bias is None else y + linear.bias[...]


def _of_gathered(apply: Callable[[nnx.Module, Any], Any], cuts: Cuts) -> Callable[[nnx.Module, Any], Any]:
    return lambda block, x: apply(gathered(block, "blocks/", cuts=cuts), x)


def unstack(blocks: nnx.Module) -> nnx.List:
    """The same blocks as a list, each with its own arrays."""
    single = [jax.tree.map(operator.itemgetter(i), blocks) for i in range(depth_of(blocks))]
    for block in single:
        block.is_stack = False
    return nnx.List(single)


def unstack_all(model: nnx.Module) -> nnx.Module:
    """Replaces, in place, every stack inside `model` by a list; returns `model`."""
    stacks = [
        (module, name)
        for _, module in list(nnx.iter_modules(model))
        for name, value in vars(module).items()
        if getattr(value, "is_stack", False)
    ]
    for module, name in stacks:
        setattr(module, name, unstack(getattr(module, name)))
    return model
