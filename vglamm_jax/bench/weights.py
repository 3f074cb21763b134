"""Gives one of our modules the very weights of a PyTorch module in memory, through the conversion table."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from vglamm_jax.convert.engine import Part, fill
from vglamm_jax.convert.rows import Row
from vglamm_jax.convert.torch_io import LazyTensor
from vglamm_jax.models import layers

ANYTHING = (r"",)


def tensors(state: Mapping[str, Any], prefix: str = "") -> dict[str, LazyTensor]:
    """A PyTorch state dict as the conversion engine reads it, names with `prefix` in front."""
    return {prefix + name: _lazy(tensor, name) for name, tensor in state.items()}


def _lazy(tensor: Any, name: str) -> LazyTensor:
    values = tensor.detach().float().numpy
    return LazyTensor(tuple(tensor.shape), np.dtype(np.float32), values, Path(name))


def load(
    make: Callable[..., nnx.Module], cfg: Any, rows: Iterable[Row], state: Mapping[str, Any], prefix: str = ""
) -> nnx.Module:
    """The float32 module `make(cfg, rngs)`, filled by `rows`; tensors that no row names are left alone."""
    return fill(layers.abstract(make, cfg), Part(rows, tensors(state, prefix), "PyTorch model", ignored=ANYTHING))
