"""Examples small enough to make in a test: moving shapes with exact masks, their frames in memory or in files."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np

from vglamm_jax.data.clip_maker import SCENE, scene_frames
from vglamm_jax.data.markup import Phrase
from vglamm_jax.data.masks import encode
from vglamm_jax.data.schema import Example, Media, Obj, Turn
from vglamm_jax.data.templates import DESCRIBE, SEGMENT, fill

SIZE = (48, 64)
NAMES = [shape.name for shape in SCENE]
CAPTION = "A ball and a box pass."
PHRASES = (Phrase(0, 6, (NAMES[0],)), Phrase(11, 16, (NAMES[1],)))


def example(id: str = "clip", count: int = 8, size: tuple[int, int] = SIZE, **changes) -> tuple[Example, np.ndarray]:
    """(example, frames uint8 [count, H, W, 3]); an image when there is one frame."""
    frames, masks = (np.stack(parts) for parts in zip(*scene_frames(count, size)))
    kind = "video" if count > 1 else "image"
    objects = tuple(
        Obj(id=name, masks={t: encode(masks[t, i]) for t in range(count)})
        for i, name in enumerate(NAMES)
        if masks[:, i].any()
    )
    made = Example(
        id=id,
        media=Media(kind=kind, size=size, length=count, fps=4.0),
        objects=objects,
        turns=(Turn(question=fill(DESCRIBE[kind][0]), answer=CAPTION, phrases=PHRASES, task="describe"),),
    )
    return dataclasses.replace(made, **changes), frames


def segment_turn(name: str, kind: str = "video") -> Turn:
    question = fill(SEGMENT[kind][0], name, kind)
    return Turn(question=question, answer="Sure, .", phrases=(Phrase(6, 6, (name,)),), task="segment", expression=name)


def in_files(made: Example, frames: np.ndarray, root: Path) -> Example:
    """The same with its frames as PNG files under `root`."""
    names = [f"{made.id}-{t}.png" for t in range(len(frames))]
    for name, frame in zip(names, frames):
        cv2.imwrite(str(root / name), frame[..., ::-1])
    return dataclasses.replace(made, media=dataclasses.replace(made.media, frames=tuple(names)))


class Pairs:
    """A source of (example, frames) pairs: videos of `count` frames, or every second one an image."""

    root = "."

    def __init__(self, name: str = "pairs", length: int = 20, count: int = 8, images: bool = False):
        self.name, self.length, self.count, self.images = name, length, count, images

    def __repr__(self) -> str:
        return f"Pairs({self.name!r}, {self.length}, {self.count}, {self.images})"

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Example, np.ndarray]:
        count = 1 if self.images and index % 2 else self.count
        made, frames = example(f"{self.name}-{index}", count, source=self.name)
        return made, np.roll(frames, index, axis=-1)
