"""Moving Things: a grounded-video benchmark made on the fly. The same (split, seed, index) is the same clip anywhere.

    clip = make_clip("train", seed=0, index=7)
    clip.frames                         # uint8 [16, 96, 96, 3]
    clip.masks                          # bool [things, 16, 96, 96], visible pixels
    clip.caption.text                   # "A small red star moves to the right while ..."
    clip.expressions                    # of five kinds, each declarative and interrogative
    example("train", 0, 7, "segment")   # the same as a `schema.Example` with its pictures in memory

Things of the test split combine colour, shape and motion as no thing in training or validation does
(`vocabulary.held_out`).
"""

import dataclasses
import functools
from typing import NamedTuple

import cv2
import numpy as np

from vglamm_jax.data.markup import Phrase
from vglamm_jax.data.masks import Rle, box, encode
from vglamm_jax.data.schema import Example, Media, Obj, Turn
from vglamm_jax.data.synthetic.captions import Caption, caption
from vglamm_jax.data.synthetic.expressions import Expression, expressions
from vglamm_jax.data.synthetic.language import Speaker
from vglamm_jax.data.synthetic.moments import Moment, moments
from vglamm_jax.data.synthetic.pixels import paint
from vglamm_jax.data.synthetic.scene import Scene
from vglamm_jax.data.synthetic.silhouettes import layers
from vglamm_jax.data.synthetic.world import Settings, draw_world, generator
from vglamm_jax.data.templates import DESCRIBE, GROUND, GROUND_BY_QUESTION, SEGMENT, SEGMENT_BY_SENTENCE, fill

SOURCE = "moving_things"
TASKS = ("describe", "segment", "locate")
DEFAULTS = Settings()


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
    """One clip with everything that is known about it.

    Attributes:
        frames: uint8 RGB [T, H, W, 3].
        masks: bool [things, T, H, W], what is seen of each; no two overlap.
        caption, expressions, moments: texts, with places in `masks` for what they mean.
        scene: the state they were derived from.
    """

    frames: np.ndarray
    masks: np.ndarray
    caption: Caption
    expressions: tuple[Expression, ...]
    moments: tuple[Moment, ...]
    scene: Scene

    @functools.cached_property
    def boxes(self) -> np.ndarray:
        """float32 [things, T, 4] as x0, y0, x1, y1 in pixels, x1 and y1 excluded; zeros where a mask is empty."""
        out = np.zeros((*self.masks.shape[:2], 4), np.float32)
        for axis, (low, high) in ((2, (0, 2)), (3, (1, 3))):
            hit = self.masks.any(axis)
            length = hit.shape[-1]
            out[..., low] = np.where(hit.any(-1), hit.argmax(-1), 0)
            out[..., high] = np.where(hit.any(-1), length - hit[..., ::-1].argmax(-1), 0)
        return out


class Described(NamedTuple):
    scene: Scene
    caption: Caption
    expressions: tuple[Expression, ...]
    moments: tuple[Moment, ...]


def described(split: str, seed: int, index: int, settings: Settings = DEFAULTS) -> Described:
    """All of a clip but its pixels. Raises ValueError as `make_clip`."""
    world = draw_world(split, seed, index, settings)
    scene = Scene(world, layers(world))
    speaker = Speaker(settings.wording, generator(split, seed, index, 1))
    said = caption(scene, speaker, settings.max_phrases)
    return Described(scene, said, expressions(scene, split, speaker), moments(scene, speaker))


def make_clip(split: str, seed: int, index: int, settings: Settings = DEFAULTS, rendering: int = 0) -> Clip:
    """A clip. Other `rendering`s have the same masks and words in other pixels: background, shades, light, noise.

    Raises:
        ValueError: an unknown split, or a negative number.
    """
    if rendering < 0:
        raise ValueError(f"rendering counts from 0, got {rendering}")
    said = described(split, seed, index, settings)
    frames = paint(said.scene.world, said.scene.layers, generator(split, seed, index, 2 + rendering))
    return Clip(frames, said.scene.layers.masks(), said.caption, said.expressions, said.moments, said.scene)


def example(
    split: str,
    seed: int,
    index: int,
    task: str | None = None,
    settings: Settings = DEFAULTS,
    rendering: int = 0,
    pictures: bool = True,
) -> Example:
    """A clip as an example of one task, or of all (None); its turns are independent conversations.

    "describe" is the grounded caption (GCG), "segment" a turn for each referring expression, "locate" one for each
    moment: masks and a time span (visual grounding). `pictures` puts the frames, as PNG, into `media.encoded`.

    Raises:
        ValueError: an unknown split or task, or a negative number.
    """
    return as_example(
        make_clip(split, seed, index, settings, rendering), name(split, seed, index, rendering), split, task, pictures
    )


def name(split: str, seed: int, index: int, rendering: int = 0) -> str:
    return f"{split}-{seed}-{index:06d}" + (f"-{rendering}" if rendering else "")


def as_example(clip: Clip, id: str, split: str, task: str | None = None, pictures: bool = True) -> Example:
    """See `example`."""
    if task is not None and task not in TASKS:
        raise ValueError(f"Moving Things has no task {task!r}: choose one of {', '.join(TASKS)}")
    settings = clip.scene.world.settings
    turns = [turn for one in TASKS if task in (None, one) for turn in _TURNS[one](clip)]
    encoded = tuple(cv2.imencode(".png", frame[..., ::-1])[1].tobytes() for frame in clip.frames) if pictures else ()
    return Example(
        id=id,
        media=Media(kind="video", size=settings.size, length=settings.frames, fps=settings.fps, encoded=encoded),
        turns=tuple(turns),
        objects=_objects(clip),
        source=SOURCE,
        split=split,
        independent=True,
        meta={"kinds": [one.kind for one in clip.expressions]} if task in (None, "segment") else {},
    )


def _objects(clip: Clip) -> tuple[Obj, ...]:
    """Those with a pixel to be seen."""
    out = []
    for i, thing in enumerate(clip.scene.world.things):
        masks: dict[int, Rle | None] = {t: encode(mask) for t, mask in enumerate(clip.masks[i])}
        boxes = {t: box(rle) for t, rle in masks.items() if rle is not None}
        if boxes:
            out.append(Obj(id=str(i), category=thing.look.shape, masks=masks, boxes=boxes))
    return tuple(out)


def _describe(clip: Clip) -> list[Turn]:
    phrases = tuple(Phrase(phrase.start, phrase.end, (str(phrase.thing),)) for phrase in clip.caption.phrases)
    return [Turn(question=fill(DESCRIBE["video"][0]), answer=clip.caption.text, phrases=phrases, task="describe")]


def _segment(clip: Clip) -> list[Turn]:
    turns = []
    for one in clip.expressions:
        templates = SEGMENT["video"] if one.form == "declarative" else SEGMENT_BY_SENTENCE
        answer = "Sure, ." if one.things else "There is nothing like that in the video."
        phrases = (Phrase(6, 6, tuple(map(str, one.things))),) if one.things else ()
        question = fill(templates[0], one.text)
        turns.append(Turn(question=question, answer=answer, phrases=phrases, task="segment", expression=one.text))
    return turns


def _locate(clip: Clip) -> list[Turn]:
    turns, fps = [], clip.scene.world.settings.fps
    for one in clip.moments:
        templates = GROUND if one.form == "declarative" else GROUND_BY_QUESTION
        turns.append(
            Turn(
                question=fill(templates[0], one.text),
                answer="It is , in frames:({start},{end}).",
                phrases=(Phrase(6, 6, (str(one.thing),)),),
                task="locate",
                expression=one.text,
                time_span=(one.frames[0] / fps, one.frames[1] / fps),
            )
        )
    return turns


_TURNS = {"describe": _describe, "segment": _segment, "locate": _locate}
