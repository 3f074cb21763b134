"""Rows of the conversion table: which tensor of a PyTorch file is which parameter, and how it turns.

`{i}` in a key counts through a list of equal blocks. In a path it stands where the index would be: a
stack of blocks has no such part (the index is its leading axis), a list of blocks has. Both directions
follow from the same row.
"""

import dataclasses
from collections.abc import Iterable

import cv2
import numpy as np

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Transform:
    """`ours = torch.squeeze(ones).transpose(axes)`, then zero rows up to the padded vocabulary.

    Several parameters may share a tensor: each then picks one of equal parts of its rows (axis 0).
    """

    axes: tuple[int, ...] | None = None
    ones: tuple[int, ...] = ()  # axes of length one that only the PyTorch tensor has
    rows: int | None = None  # true rows (axis 0) of the PyTorch tensor; ours are padded
    pick: tuple[int, int] | None = None  # which part, of how many

    def torch_shape(self, ours: Shape) -> Shape:
        """Shape of the PyTorch tensor for a parameter of shape `ours`."""
        shape = tuple(ours[self.axes.index(axis)] for axis in range(len(ours))) if self.axes else tuple(ours)
        if self.rows is not None:
            shape = (self.rows, *shape[1:])
        for axis in self.ones:
            shape = (*shape[:axis], 1, *shape[axis:])
        return (shape[0] * self.pick[1], *shape[1:]) if self.pick else shape

    def turned(self, tensor: np.ndarray) -> np.ndarray:
        """A PyTorch tensor with our axes, not yet padded; it may share memory with the tensor."""
        tensor = np.split(tensor, self.pick[1])[self.pick[0]] if self.pick else tensor
        tensor = tensor.squeeze(self.ones) if self.ones else tensor
        if self.axes == (1, 0):
            return transposed(tensor)
        return tensor.transpose(self.axes) if self.axes else tensor

    def to_ours(self, tensor: np.ndarray, out: np.ndarray) -> None:
        """Writes a PyTorch tensor into a zeroed parameter buffer, casting to its dtype."""
        turned = self.turned(tensor)
        out[tuple(slice(size) for size in turned.shape)] = turned

    def to_torch(self, ours: np.ndarray) -> np.ndarray:
        """The PyTorch tensor of a parameter (or the part it picks), contiguous, vocabulary padding cut off."""
        if self.axes == (1, 0):
            tensor = transposed(ours)
        else:
            tensor = ours.transpose(np.argsort(self.axes)) if self.axes else ours
        tensor = tensor[: self.rows] if self.rows is not None else tensor
        return np.ascontiguousarray(np.expand_dims(tensor, self.ones) if self.ones else tensor)


def transposed(matrix: np.ndarray) -> np.ndarray:
    """A transposed copy; OpenCV makes it in blocks, 5 times faster than numpy at the sizes of these matrices."""
    if not matrix.size or matrix.itemsize not in (1, 2, 4):
        return np.ascontiguousarray(matrix.T)
    bits = np.ascontiguousarray(matrix).view(f"u{matrix.itemsize}" if matrix.itemsize < 4 else "i4")
    return cv2.transpose(bits).view(matrix.dtype)


SAME = Transform()
LINEAR = Transform(axes=(1, 0))
CONV2D = Transform(axes=(2, 3, 1, 0))
CONV3D = Transform(axes=(2, 3, 4, 1, 0))
CONV_TRANSPOSE = Transform(axes=(2, 3, 1, 0))  # with `transpose_kernel=True`; else it would need a flip too


@dataclasses.dataclass(frozen=True)
class Row:
    """One tensor, or one per index of a list of equal blocks."""

    key: str  # PyTorch name, "." between parts
    path: str  # our path, "/" between parts
    transform: Transform = SAME
    indices: range | None = None  # what `{i}` runs through in the key; our index starts at 0

    def names(self) -> list[str]:
        return [self.key.replace("{i}", str(i)) for i in self.indices] if self.indices is not None else [self.key]

    @property
    def stacked_path(self) -> str:
        return self.path.replace("{i}/", "")

    def listed_paths(self) -> list[str]:
        return [self.path.replace("{i}", str(n)) for n in range(len(self.indices or ()))]


def under(key: str, path: str, rows: Iterable[Row], indices: range | None = None) -> list[Row]:
    """The rows with prefixes, `key` and `path`, and the indices that a `{i}` in the prefix runs through."""
    return [
        dataclasses.replace(
            row, key=key + row.key, path=path + row.path, indices=indices if indices is not None else row.indices
        )
        for row in rows
    ]


def linear(key: str, path: str | None = None, *, bias: bool = True, transform: Transform = LINEAR) -> list[Row]:
    """Weight and bias of a matrix or convolution; `path` only where its name differs."""
    path = path or key.replace(".", "/")
    rows = [Row(f"{key}.weight", f"{path}/kernel", transform)]
    return [*rows, Row(f"{key}.bias", f"{path}/bias")] if bias else rows


def norm(key: str, path: str | None = None, *, bias: bool = True) -> list[Row]:
    """Scale and bias of a LayerNorm, or the scale of an RMSNorm."""
    path = path or key.replace(".", "/")
    rows = [Row(f"{key}.weight", f"{path}/scale")]
    return [*rows, Row(f"{key}.bias", f"{path}/bias")] if bias else rows


def flat(groups: Iterable[Iterable[Row]]) -> list[Row]:
    return [row for group in groups for row in group]
