"""A vocabulary of another size than the language model was released with, which has no [SEG].

The original resizes the tables to its tokenizer's length (facts 1.7): Phi-3, with rows to spare, loses the last ones.
Where there are too few, a new row is the mean of the others, which is as likely as any token before it has learnt.
"""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp

AXES = {"llm/embed_tokens/embedding": 0, "llm/lm_head/kernel": 1}  # path -> axis of the tokens


def stored_shape(path: str, wanted: tuple[int, ...], stored: tuple[int, ...]) -> tuple[int, ...]:
    """The shape to read a parameter in: its own but for the number of tokens."""
    if path not in AXES or len(wanted) != len(stored):
        return wanted
    axis = AXES[path]
    return (*wanted[:axis], stored[axis], *wanted[axis + 1 :])


def resized(
    arrays: Mapping[str, jax.Array], had: int, has: int, shapes: Mapping[str, jax.ShapeDtypeStruct]
) -> dict[str, jax.Array]:
    """The tables of `had` tokens as tables of `has`, in the padded shapes and places that the model wants."""
    found = dict(arrays)
    for path, axis in AXES.items():  # in this order in every process
        if path in arrays:
            fit = functools.partial(_resized, had=had, has=has, axis=axis, rows=shapes[path].shape[axis])
            found[path] = jax.jit(fit, out_shardings=shapes[path].sharding)(arrays[path])
    return found


def _resized(table: jax.Array, had: int, has: int, axis: int, rows: int) -> jax.Array:
    known = jax.lax.slice_in_dim(table, 0, had, axis=axis)
    kept = jax.lax.slice_in_dim(known, 0, min(had, has), axis=axis)
    new = jnp.repeat(known.mean(axis, keepdims=True), max(has - had, 0), axis=axis)
    padding = [(0, 0)] * table.ndim
    padding[axis] = (0, rows - has)
    return jnp.pad(jnp.concatenate([kept, new], axis), padding)
