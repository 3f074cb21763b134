"""A short clip of moving shapes, for the demo and the tests: nothing to download, masks known exactly."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from vglamm_jax.data.video_writer import write_video


@dataclasses.dataclass(frozen=True)
class Shape:
    """A disc, square or triangle that moves from `start` to `stop` (fractions of width and height)."""

    name: str
    kind: str
    colour: tuple[int, int, int]
    start: tuple[float, float]
    stop: tuple[float, float]
    radius: float  # fraction of the height


SCENE = (
    Shape("the red ball", "disc", (214, 62, 54), (0.15, 0.62), (0.82, 0.46), 0.14),
    Shape("the blue box", "square", (52, 104, 201), (0.85, 0.30), (0.30, 0.38), 0.12),
    Shape("the yellow triangle", "triangle", (240, 190, 50), (0.50, 0.80), (0.60, 0.22), 0.11),
)
QUESTION = "Please segment the red ball and the blue box in this video."


def make_clip(path: str | Path, seconds: float = 4.0, fps: float = 12.0, size: tuple[int, int] = (240, 320)) -> Path:
    """Writes the clip as mp4; `size` is (height, width)."""
    count = max(1, round(seconds * fps))
    return write_video(path, (frame for frame, _ in scene_frames(count, size)), fps)


def scene_frames(count: int, size: tuple[int, int] = (240, 320)) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Frames uint8 [H, W, 3] with the visible part of each shape of `SCENE`, bool [shapes, H, W]; the later cover."""
    background = _background(size)
    for n in range(count):
        frame, masks = background.copy(), np.zeros((len(SCENE), *size), bool)
        for i, shape in enumerate(SCENE):
            inside = _inside(shape, n / max(1, count - 1), size)
            shade = 0.75 + 0.25 * np.linspace(1, 0, size[0])[:, None, None]
            frame[inside] = (np.array(shape.colour) * np.broadcast_to(shade, frame.shape))[inside]
            masks[:i] &= ~inside
            masks[i] = inside
        yield frame, masks


def _background(size: tuple[int, int]) -> np.ndarray:
    height, width = size
    rows, columns = np.mgrid[0:height, 0:width]
    sky = np.stack([200 - 60 * rows / height, 215 - 40 * rows / height, 225 - 20 * rows / height], axis=-1)
    floor = np.stack([120 + 20 * columns / width, 130 + 10 * rows / height, 105 + 0 * rows], axis=-1)
    return np.where((rows > 0.7 * height)[..., None], floor, sky).astype(np.uint8)


def _inside(shape: Shape, progress: float, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    ease = progress * progress * (3 - 2 * progress)
    x, y = (a + (b - a) * ease for a, b in zip(shape.start, shape.stop))
    centre, radius = (round(x * width), round(y * height)), max(1, round(shape.radius * height))
    mask = np.zeros(size, np.uint8)
    if shape.kind == "disc":
        cv2.circle(mask, centre, radius, 1, -1)
    else:
        corners = 4 if shape.kind == "square" else 3
        angles = 2 * np.pi * (np.arange(corners) / corners + progress / corners) - np.pi / 2
        points = np.stack([centre[0] + radius * np.cos(angles), centre[1] + radius * np.sin(angles)], axis=-1)
        cv2.fillPoly(mask, [points.round().astype(np.int32)], 1)
    return mask > 0
