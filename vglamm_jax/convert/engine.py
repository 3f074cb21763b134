"""Fills a model from PyTorch tensors by the table's rows, and takes them out again.

Everything is planned and checked on shapes first, so that one error names every tensor that is missing,
unexpected or of another shape; then tensors stream in one at a time.
"""

import dataclasses
import difflib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from vglamm_jax.convert.rows import Row, Shape
from vglamm_jax.convert.torch_io import CheckpointError, LazyTensor, Tensors
from vglamm_jax.sharding import path_name

Progress = Callable[[int, int], None]  # bytes read so far, bytes in all
LISTED = 12  # names per kind of problem in an error; the rest is counted
ALIGNMENT = 64  # what JAX wants in order to take a numpy buffer over without a copy


def leaves(module: nnx.Module) -> dict[str, Any]:
    """Every parameter by path (`llm/blocks/mlp/down_proj/kernel`), in the module's own order."""
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(module)[0]}


class Slot:
    """One tensor's place: a whole parameter, or one index of a stacked one."""

    def __init__(self, key: str, row: Row, path: str, index: int | None, ours: Shape):
        self.key, self.row, self.path, self.index = key, row, path, index
        self.parameter_shape = tuple(ours)
        self.torch_shape = row.transform.torch_shape(tuple(ours) if index is None else tuple(ours[1:]))

    @property
    def shape(self) -> Shape:
        """Of the parameter, or of the one index of it."""
        return self.parameter_shape if self.index is None else self.parameter_shape[1:]

    def value(self, tensor: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """What stands in this place; no copy is made of what needs neither padding nor another type."""
        turned = self.row.transform.turned(tensor)
        if (turned.shape, turned.dtype) == (self.shape, dtype):
            return np.ascontiguousarray(turned).reshape(self.shape)
        buffer = _zeros(self.shape, dtype)
        self.row.transform.to_ours(tensor, buffer)
        return buffer

    def write(self, tensor: np.ndarray, buffer: np.ndarray) -> None:
        self.row.transform.to_ours(tensor, buffer if self.index is None else buffer[self.index])

    def read(self, parameter: np.ndarray) -> np.ndarray:
        return self.row.transform.to_torch(parameter if self.index is None else parameter[self.index])


def slots(rows: Iterable[Row], parameters: Mapping[str, Any]) -> list[Slot]:
    """The place of every key of `rows`; stacks and lists of blocks are told apart by the parameters.

    Raises:
      CheckpointError: a row that fits no parameter, or a parameter that no row fills.
    """
    found, lost = [], []
    for row in rows:
        keys = row.names()
        if row.indices is None and row.path in parameters:
            found.append(Slot(row.key, row, row.path, None, parameters[row.path].shape))
        elif row.indices is not None and row.stacked_path in parameters:
            shape = parameters[row.stacked_path].shape
            found += [Slot(key, row, row.stacked_path, n, shape) for n, key in enumerate(keys)]
        elif row.indices is not None and all(path in parameters for path in row.listed_paths()):
            found += [Slot(key, row, path, None, parameters[path].shape) for key, path in zip(keys, row.listed_paths())]
        elif keys:
            lost.append(row.path)
    unfilled = sorted(set(parameters) - {slot.path for slot in found})
    if lost or unfilled:
        raise CheckpointError(
            f"the conversion table does not fit this model: {_listed('paths without a parameter', lost)}"
            f"{_listed('parameters without a row', unfilled)}"
        )
    return found


def abstract_checkpoint(module: nnx.Module, rows: Iterable[Row], extras: Mapping[str, Shape]) -> dict[str, Shape]:
    """Name -> shape of every tensor that a file of this model holds."""
    return {slot.key: slot.torch_shape for slot in slots(rows, leaves(module))} | dict(extras)


@dataclasses.dataclass(frozen=True)
class Part:
    """One file and the rows it fills.

    `ignored` are regular expressions of names that may be present and are left alone, `extras` names of
    carried tensors, which may be present too; `source` is how errors call the file.
    """

    rows: Iterable[Row]
    tensors: Tensors
    source: str = "checkpoint"
    ignored: Iterable[str] = ()
    extras: Iterable[str] = ()


def fill(
    module: nnx.Module,
    *parts: Part,
    dtype: Any = np.float32,
    progress: Progress | None = None,
    shardings: Any = None,
) -> nnx.Module:
    """The module with the tensors' values as arrays of `dtype`.

    Args:
      module: built by `layers.abstract` (or any module of the same structure).
      parts: files whose rows together fill exactly this module.
      dtype: of every parameter.
      progress: called with bytes read and bytes in all after every tensor.
      shardings: a tree like `module` of `jax.sharding.Sharding`; None keeps arrays on the default device.

    Raises:
      CheckpointError: names every missing, unexpected or mis-shaped tensor of every file.
    """
    parameters = leaves(module)
    places = slots([row for part in parts for row in part.rows], parameters)
    check(places, parts)
    tensors = {key: part.tensors[key] for part in parts for row in part.rows for key in row.names()}
    by_path: dict[str, list[Slot]] = {}
    for place in places:
        by_path.setdefault(place.path, []).append(place)
    targets = leaves(shardings) if shardings is not None else {}
    report = Report(sum(tensors[place.key].nbytes for place in places), progress)
    tensors = {key: report.watch(tensor) for key, tensor in tensors.items()}
    arrays = [
        _place(gather(by_path[path], parameter.shape, np.dtype(dtype), tensors), targets.get(path))
        for path, parameter in parameters.items()
    ]
    return jax.tree.unflatten(jax.tree.structure(module), arrays)


class Report:
    """Counts the bytes of watched tensors as they are read."""

    def __init__(self, total: int, progress: Progress | None):
        self.done, self.total, self.progress = 0, total, progress

    def watch(self, tensor: LazyTensor) -> LazyTensor:
        if self.progress is None:
            return tensor

        def read() -> np.ndarray:
            value = tensor.read()
            self.done += tensor.nbytes
            self.progress(self.done, self.total)
            return value

        return dataclasses.replace(tensor, read=read)


def gather(places: Iterable[Slot], shape: Shape, dtype: np.dtype, tensors: Tensors) -> np.ndarray:
    """A parameter of `shape` put together from its tensors, read one at a time."""
    buffer = _zeros(shape, dtype)
    for place in places:
        place.write(tensors[place.key].read(), buffer)
    return buffer


def _zeros(shape: Shape, dtype: np.dtype) -> np.ndarray:
    """Zeros at an aligned address: JAX on CPU then keeps this very buffer instead of a copy."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)


def _place(buffer: np.ndarray, sharding: jax.sharding.Sharding | None) -> jax.Array:
    if sharding is None:
        return jax.device_put(buffer, may_alias=True)
    return jax.make_array_from_callback(buffer.shape, sharding, lambda index: buffer[index])


def check(places: Iterable[Slot], parts: Iterable[Part]) -> None:
    """Raises one CheckpointError with everything that does not fit."""
    shapes = {place.key: place.torch_shape for place in places}
    problems = [problem for part in parts if (problem := _misfit(part, shapes))]
    if problems:
        raise CheckpointError("\n".join(problems))


def _misfit(part: Part, shapes: Mapping[str, Shape]) -> str:
    tensors, wanted = part.tensors, [key for row in part.rows for key in row.names()]
    named, skip = {*wanted, *part.extras}, [re.compile(pattern) for pattern in part.ignored]
    missing = [key for key in wanted if key not in tensors]
    unexpected = [key for key in tensors if key not in named and not any(p.search(key) for p in skip)]
    misshaped = [
        f"{key} is {list(tensors[key].shape)}, this model wants {list(shapes[key])}"
        for key in wanted
        if key in tensors and tensors[key].shape != shapes[key]
    ]
    if not (missing or unexpected or misshaped):
        return ""
    close = nearest(missing[:LISTED], unexpected or list(tensors))
    return (
        f"{part.source}: does not fit this model: {_listed('missing', missing, close)}"
        f"{_listed('unexpected', unexpected)}{_listed('other shape', misshaped)}"
    )


def nearest(names: list[str], candidates: list[str]) -> dict[str, str]:
    """Each name with the candidate most like it, as a phrase for an error; names without one are left out."""
    found = {name: difflib.get_close_matches(name, candidates[:2000], n=1, cutoff=0.6) for name in names}
    return {name: f"{name} (nearest there: {match[0]})" for name, match in found.items() if match}


def _listed(what: str, names: list[str], notes: Mapping[str, str] | None = None) -> str:
    if not names:
        return ""
    shown = [(notes or {}).get(name, name) for name in names[:LISTED]]
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"\n  {what} ({len(names)}): {', '.join(shown)}{more}"


def to_torch(
    module: nnx.Module, rows: Iterable[Row], extras: Mapping[str, np.ndarray] | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """Every tensor by its PyTorch name, in the table's order, then the carried ones; the inverse of `fill`."""
    parameters = leaves(module)
    for key, places in itertools.groupby(slots(rows, parameters), key=lambda place: place.key):
        values = [place.read(np.asarray(parameters[place.path])) for place in places]
        yield key, values[0] if len(values) == 1 else np.concatenate(values)
    yield from (extras or {}).items()
