"""Where every array lives on a mesh of axes ("data", "fsdp", "tensor").

`RULES` is the one table for parameters, optimiser moments and restore targets; `shard` is the one
way an activation is constrained. Both do nothing where no mesh is set.
"""

import functools
import itertools
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

P = PartitionSpec
Tree = TypeVar("Tree")
Cuts = Mapping[str, Sequence[int]]
AXES = ("data", "fsdp", "tensor")
BATCH = ("data", "fsdp")

# First match wins. Specs name the trailing axes: a stack of layers adds unsharded leading ones. "fsdp" cuts rows: cut
# columns are narrower than the lanes of a TPU, and would be put in order again after each gather.
RULES: list[tuple[str, PartitionSpec]] = [
    (r"embed_tokens/embedding$", P(("fsdp", "tensor"), None)),
    (r"lm_head/kernel$", P("fsdp", "tensor")),
    (r"(o_proj|out_proj|down_proj|fc2|linear2|attn/proj)/kernel$", P(("tensor", "fsdp"), None)),
    (r"(blocks|rest|first|layers)/.*(kernel)$", P("fsdp", "tensor")),
    (r"(projector|text_hidden_fcs)/.*kernel$", P("fsdp", "tensor")),
    # Low-rank factors: the long axis goes where the kernel's goes, or along "fsdp"; the rank stays whole.
    (r"(o_proj|down_proj)/lora_a$", P(("tensor", "fsdp"), None)),
    (r"(o_proj|down_proj)/lora_b$", P(None, "fsdp")),
    (r"lora_a$", P("fsdp", None)),
    (r"lora_b$", P(None, "tensor")),
    (r".*", P()),
]


def make_mesh(data: int = 1, fsdp: int = 1, tensor: int = 1, devices=None) -> jax.sharding.Mesh:
    """A mesh over data * fsdp * tensor devices (all of them by default)."""
    return jax.make_mesh((data, fsdp, tensor), AXES, axis_types=(AxisType.Auto,) * 3, devices=devices)


def spec_for(path: str, shape: tuple[int, ...], mesh: jax.sharding.Mesh) -> PartitionSpec:
    """The rule for one array; axes whose length the mesh does not divide stay whole."""
    spec = next(spec for pattern, spec in RULES if re.search(pattern, path))
    if len(spec) > len(shape):
        return P()
    spec = (None,) * (len(shape) - len(spec)) + tuple(spec)
    return P(*(axes if _divides(axes, size, mesh) else None for axes, size in zip(spec, shape, strict=True)))


def _divides(axes, size: int, mesh: jax.sharding.Mesh) -> bool:
    names = (axes,) if isinstance(axes, str) else (axes or ())
    parts = 1
    for name in names:
        parts *= mesh.shape[name]
    return size % parts == 0


def path_name(path) -> str:
    """`blocks/attn/qkv/kernel` for a key path of a module's state."""
    keys = (str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path)
    return "/".join(key for key in keys if key != "value")


def shardings(tree, mesh: jax.sharding.Mesh):
    """A tree of `NamedSharding` for a tree of arrays (or of their shapes), by `RULES`."""
    return jax.tree_util.tree_map_with_path(
        lambda path, x: NamedSharding(mesh, spec_for(path_name(path), x.shape, mesh)), tree
    )


def shard(x: jax.Array, *axes) -> jax.Array:
    """Constrains an activation, e.g. `shard(x, BATCH, None, "tensor")`; a no-op without a mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return x
    spec = (a if _divides(a, n, mesh) else None for a, n in zip(axes + (None,) * (x.ndim - len(axes)), x.shape))
    return jax.lax.with_sharding_constraint(x, P(*spec))


def gathered(tree: Tree, prefix: str = "", but: str | None = None, cuts: Cuts = MappingProxyType({})) -> Tree:
    """Parameters collected from all devices along "fsdp"; what "tensor" splits stays split. A no-op without a mesh.

    For layers whose activations are larger than their weights. XLA would multiply with one shard after the other
    instead, products too thin for the matrix units. Gradients go back to where the parameters are, each device
    keeping the sum of its own shard.

    Args:
      tree: arrays as `RULES` place them.
      prefix: of their paths, for a layer taken out of its stack: `blocks/`.
      but: a pattern of paths to leave alone.
      cuts: columns of kernels that are used piece by piece, by the end of their path. The pieces come one after the
        other, so that the first product need not wait for all, and are not copied out of the whole again.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.shape["fsdp"] == 1:
        return tree

    def collect(path, x):
        name = prefix + path_name(path)
        if but is not None and re.search(but, name):
            return x
        placed = spec_for(name, x.shape, mesh)
        whole = P(*("tensor" if axes in ("tensor", ("tensor", "fsdp")) else None for axes in placed))
        if whole == placed:
            return x
        sizes = next((sizes for end, sizes in cuts.items() if name.endswith(end)), None)
        if sizes is None or mesh.shape["tensor"] > 1:
            return _moved(x, placed, whole)
        pieces = jnp.split(x, list(itertools.accumulate(sizes))[:-1], axis=-1)
        return jnp.concatenate([_moved(piece, placed, whole) for piece in pieces], axis=-1)

    return jax.tree_util.tree_map_with_path(collect, tree)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _moved(x: jax.Array, placed: PartitionSpec, whole: PartitionSpec) -> jax.Array:
    return jax.lax.with_sharding_constraint(x, whole)


def _moved_there(x, placed, whole):
    return _moved(x, placed, whole), None


def _moved_back(placed, whole, _, gradient):
    return (jax.lax.with_sharding_constraint(gradient, placed),)


_moved.defvjp(_moved_there, _moved_back)
