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
from flax import nnx

from vglamm_jax.sharding import gathered

Remat = (
    bool | Literal["dots"]
)  # what a backward pass computes again: nothing, each block, or all but its matrix products


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


def run(
    blocks: nnx.Module,
    x: Any,
    apply: Callable[[nnx.Module, Any], Any] = lambda block, x: block(x),
    *,
    start: int = 0,
    stop: int | None = None,
    remat: Remat = False,
    gather: bool = False,
) -> Any:
    """Passes `x` (any pytree) through blocks [start, stop) in order, each as `x = apply(block, x)`.

    `gather`: the parameters of a block are collected from all devices just before it runs, see `sharding.gathered`.
    """
    if gather:
        apply = _of_gathered(apply)
    if remat:
        policy = jax.checkpoint_policies.dots_with_no_batch_dims_saveable if remat == "dots" else None
        apply = jax.checkpoint(apply, policy=policy, prevent_cse=False)
    if isinstance(blocks, nnx.List):
        for block in list(blocks)[start:stop]:
            x = apply(block, x)
        return x
    if start or (stop is not None and stop < depth_of(blocks)):
        blocks = jax.tree.map(lambda p: p[start:stop], blocks)
    return jax.lax.scan(lambda x, block: (apply(block, x), None), x, blocks)[0]


def _of_gathered(apply: Callable[[nnx.Module, Any], Any]) -> Callable[[nnx.Module, Any], Any]:
    return lambda block, x: apply(gathered(block, "blocks/"), x)


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
