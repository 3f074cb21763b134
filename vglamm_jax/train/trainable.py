"""What trains: groups of parameters by name, and a model taken apart into what trains and what does not.

`TABLE` is the whole choice. A recipe names groups, such as `ORIGINAL` (facts 5.1).
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, TypeVar

import jax

from vglamm_jax.sharding import path_name

Tree = TypeVar("Tree")


class Choice(Protocol):
    """What this module reads of a training config: names of `TABLE`."""

    trainable: Sequence[str]


class Group(NamedTuple):
    name: str
    paths: str  # regular expression on our paths
    original: str  # what the original calls them


TABLE = (
    Group("lora", r"^llm/blocks/.*/lora_[ab]$", "model.layers.*.lora_{A,B}"),
    Group("embed_tokens", r"^llm/embed_tokens/", "model.embed_tokens"),
    Group("lm_head", r"^llm/lm_head/", "lm_head"),
    # All of the language model but its low-rank factors.
    Group("llm", r"^llm/(?!.*/lora_[ab]$)", "model.embed_tokens, model.layers.*, model.norm, lm_head"),
    Group("mm_projector", r"^mm_projector/", "model.mm_projector"),
    Group("image_mm_projector", r"^image_mm_projector/", "model.image_mm_projector"),
    Group("text_hidden_fcs", r"^text_hidden_fcs/", "model.text_hidden_fcs"),
    # conv_s0 and conv_s1 belong to the features of a frame: the original marks them as trainable, but computes them
    # without gradient, so that they never change. A bias of keys adds the same to a query's score of every key, which
    # softmax takes away again: its gradient is 0 but for rounding, of which Adam would make steps of full size.
    Group(
        "mask_decoder",
        r"^sam2/sam_mask_decoder/(?!conv_s[01]/|transformer/.*/k_proj/bias$)",
        "model.visual_model.sam_mask_decoder",
    ),
    # What `decoder="tracked"` learns besides.
    Group(
        "memory",
        r"^sam2/(memory_attention|memory_encoder|obj_ptr_proj|obj_ptr_tpos_proj)/"
        r"|^sam2/(maskmem_tpos_enc|no_mem_embed|no_obj_ptr|no_obj_embed_spatial)$",
        "model.visual_model.{memory_attention,memory_encoder,obj_ptr_proj,maskmem_tpos_enc,...}",
    ),
)
GROUPS = {group.name: group for group in TABLE}
PROJECTORS = ("mm_projector", "image_mm_projector")
# What the original trains with LoRA. It has a flag for the projectors, which LoRA then freezes all the same.
ORIGINAL = ("lora", "embed_tokens", "lm_head", "text_hidden_fcs", "mask_decoder")


def group_of(path: str, groups: Iterable[str]) -> str | None:
    """The first of these groups that a parameter (`llm/embed_tokens/embedding`) is in; None = it stays as it is."""
    return next((name for name in groups if re.search(GROUPS[name].paths, path)), None)


def check(model: Tree, groups: Sequence[str]) -> None:
    """Raises ValueError for an unknown group, for one that this model has no parameter of, and where none is named."""
    if not groups:
        raise ValueError(f"trainable: nothing is to be trained; name some of {', '.join(GROUPS)}")
    if unknown := sorted(set(groups) - set(GROUPS)):
        raise ValueError(f"trainable: no such group: {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    paths = [path_name(path) for path, _ in jax.tree_util.tree_flatten_with_path(model)[0]]
    for name in groups:
        if not any(re.search(GROUPS[name].paths, path) for path in paths):
            hint = "; give the model llm.lora" if name == "lora" else ""
            raise ValueError(f"trainable: this model has no parameter in group {name!r}{hint}")


def split(model: Tree, cfg: Choice) -> tuple[Tree, Tree]:
    """(what trains, what does not): the model twice, each with None where the other has the array.

    Both are pytrees with the model's own paths, so that gradients, moments, sharding and checkpoints of what trains
    need no further mapping; `join` puts them together. Works on arrays and on shapes.

    Raises:
      ValueError: as `check`.
    """
    check(model, cfg.trainable)

    def trains(path) -> bool:
        return group_of(path_name(path), cfg.trainable) is not None

    train = jax.tree_util.tree_map_with_path(lambda path, x: x if trains(path) else None, model)
    frozen = jax.tree_util.tree_map_with_path(lambda path, x: None if trains(path) else x, model)
    return train, frozen


def join(train: Tree, frozen: Tree) -> Tree:
    """The model again; the inverse of `split`."""
    return jax.tree.map(lambda t, f: f if t is None else t, train, frozen, is_leaf=lambda x: x is None)


def counts(model: Tree, groups: Sequence[str]) -> dict[str, int]:
    """How many numbers each group trains, and `frozen`, those that none does."""
    found = dict.fromkeys((*groups, "frozen"), 0)
    for path, x in jax.tree_util.tree_flatten_with_path(model)[0]:
        found[group_of(path_name(path), groups) or "frozen"] += x.size
    return found


def summary(model: Tree, groups: Sequence[str]) -> str:
    """`lora   3,145,728  model.layers.*.lora_{A,B}`, a line for each group."""
    names = {name: GROUPS[name].original for name in groups} | {"frozen": "the rest"}
    return "\n".join(f"{name:<20} {count:>15,}  {names[name]}" for name, count in counts(model, groups).items())
