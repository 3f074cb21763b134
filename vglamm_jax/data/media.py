"""What every source of frames offers: sizes and times known in advance, pixels decoded when asked for."""

import abc
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np


class VideoError(ValueError):
    """A video, folder or image that cannot be used; one line that names the file and the fix."""


@dataclasses.dataclass(kw_only=True, eq=False)
class Video(abc.ABC):
    """Frames of a file or folder, in order of time.

    Attributes:
        path: where it came from.
        size: (height, width) of every frame as shown, i.e. after rotation flags.
        fps: average frames per second; for a folder an assumption.
        timestamps: float64 [N], seconds since the first frame; uneven when the frame rate varies.
        kind: "image" for a single picture, whose prompt has one placeholder.
    """

    path: Path
    size: tuple[int, int]
    fps: float
    timestamps: np.ndarray
    kind: Literal["video", "image"] = "video"

    def __len__(self) -> int:
        return len(self.timestamps)

    def frames(self, indices: Sequence[int] | None = None) -> Iterator[np.ndarray]:
        """RGB frames, uint8 [H, W, 3] each, decoded one by one; all of them by default.

        Raises:
            VideoError: a frame is damaged, or the file ends early.
            IndexError: indices out of range or not in increasing order (repeats are fine).
        """
        wanted = np.arange(len(self)) if indices is None else np.asarray(indices, np.int64)
        if len(wanted) and (wanted[0] < 0 or wanted[-1] >= len(self) or (np.diff(wanted) < 0).any()):
            raise IndexError(f"{self.path}: frame indices must increase and lie in 0..{len(self) - 1}")
        return self._repeated(wanted)

    def _repeated(self, wanted: np.ndarray) -> Iterator[np.ndarray]:
        unique, counts = np.unique(wanted, return_counts=True)
        for frame, count in zip(self._decode(unique), counts):
            for _ in range(count):
                yield frame

    @abc.abstractmethod
    def _decode(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        """One RGB frame for each of the strictly increasing indices."""


def over_white(rgba: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 4] -> uint8 [H, W, 3]: what a viewer shows; the colour beneath a transparent pixel means nothing."""
    alpha = rgba[..., 3:].astype(np.uint16)
    return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
