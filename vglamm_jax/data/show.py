"""Examples as pictures: a contact sheet, and videos with masks, each phrase in the colour of its mask."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from vglamm_jax.data.drawing import BACKGROUND, FAINT, Colour, Run, below, colour, fit, paint, stamp, text_block
from vglamm_jax.data.markup import SEG, Phrase
from vglamm_jax.data.masks import decode
from vglamm_jax.data.media import Video
from vglamm_jax.data.open_media import open_media, window
from vglamm_jax.data.schema import Example, Turn
from vglamm_jax.data.video_writer import write_video

GAP = 4
Colours = dict[tuple[str, ...], Colour]


class Scene(NamedTuple):
    """What is seen at once: an example with one conversation about it."""

    example: Example
    turns: tuple[Turn, ...]

    @property
    def phrases(self) -> list[Phrase]:
        return [phrase for turn in self.turns for phrase in turn.phrases]

    @property
    def colours(self) -> Colours:
        """By what a phrase names, so that the same things have one colour however often they are named."""
        named = dict.fromkeys(phrase.objects for phrase in self.phrases)
        return {objects: colour(number) for number, objects in enumerate(named)}


def scenes(example: Example, limit: int | None = None) -> list[Scene]:
    """The conversations of an example, at most `limit`: each turn, or all turns in one."""
    if not example.independent:
        return [Scene(example, example.turns)]
    return [Scene(example, (turn,)) for turn in example.turns[:limit]]


def contact_sheet(
    shown: Iterable[Scene], root: str | Path, path: str | Path | None = None, *, frames: int = 4, width: int = 1280
) -> Image.Image:
    """A strip of frames with masks for each scene, words below; saved as PNG when a path is given.

    Raises:
        VideoError: pictures that cannot be read.
    """
    sheet = below([_panel(scene, root, frames, width) for scene in shown], gap=2 * GAP)
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path)
    return sheet


def overlay(scene: Scene, root: str | Path, path: str | Path, *, width: int = 640) -> Path:
    """Every frame of the scene with its masks, and the words below, as mp4; frames without annotation say so.

    Raises:
        VideoError: pictures that cannot be read.
    """
    video = open_media(scene.example.media, root, scene.example.id)
    wanted = window(scene.example.media, video)
    return write_video(path, _overlay_frames(scene, video, wanted, width), video.fps)


def chosen_frames(scene: Scene, video: Video, count: int) -> np.ndarray:
    """Up to `count` frames spread evenly over those where something of the scene is to be seen, int64 [<= count]."""
    example = scene.example
    inside = window(example.media, video)
    visible = {
        frame
        for phrase in scene.phrases
        for frame in example.frames_of(phrase)
        if example.mask_of(phrase, frame) is not None
    }
    candidates = np.array(sorted(visible.intersection(inside.tolist()))) if visible else inside
    candidates = candidates if len(candidates) else inside
    return candidates[np.unique(np.linspace(0, len(candidates) - 1, min(count, len(candidates))).round().astype(int))]


def words(scene: Scene) -> list[list[Run]]:
    """The conversation as lines of coloured words; a bare [SEG] is written out."""
    example = scene.example
    lines = [[Run(f"{example.source} · {example.split} · {example.id}", FAINT)]]
    for turn in scene.turns:
        lines.append([Run("Q: ", FAINT), *_question(turn, scene.colours)])
        lines.append([Run("A: "), *_answer(turn, scene.colours)])
        if turn.time_span is not None:
            lines[-1].append(Run(f"  ({turn.time_span[0]:g} to {turn.time_span[1]:g} s)", FAINT))
    return lines


def _question(turn: Turn, colours: Colours) -> list[Run]:
    """The question, what it refers to in the colour of the answer's first mask."""
    before, expression, after = turn.question.partition(turn.expression or turn.question)
    if not turn.phrases or turn.expression is None or not expression:
        return [Run(turn.question, FAINT)]
    return [Run(before, FAINT), Run(expression, colours[turn.phrases[0].objects]), Run(after, FAINT)]


def _answer(turn: Turn, colours: Colours) -> Iterator[Run]:
    position, last = 0, None
    for phrase in turn.phrases:
        yield Run(turn.answer[position : phrase.start])
        ink, span = colours[phrase.objects], (phrase.start, phrase.end)
        if phrase.start < phrase.end and span != last:
            yield Run(turn.answer[phrase.start : phrase.end], ink)
        else:
            yield Run(SEG if phrase.start == phrase.end else " " + SEG, ink)
        position, last = phrase.end, span
    yield Run(turn.answer[position:])


def _panel(scene: Scene, root: str | Path, count: int, width: int) -> Image.Image:
    video = open_media(scene.example.media, root, scene.example.id)
    wanted = chosen_frames(scene, video, count)
    cell = (width - GAP * (count + 1)) // count
    size = (max(1, round(cell * video.size[0] / video.size[1])), cell)
    strip = Image.new("RGB", (width, size[0] + 2 * GAP), BACKGROUND)
    for n, (frame, picture) in enumerate(zip(wanted, video.frames(wanted))):
        strip.paste(Image.fromarray(_drawn(scene, int(frame), picture, size)), (GAP + n * (cell + GAP), GAP))
    return below([strip, text_block(words(scene), width)])


def _overlay_frames(scene: Scene, video: Video, wanted: Sequence[int], width: int) -> Iterator[np.ndarray]:
    width += width % 2
    size = (max(1, round(width * video.size[0] / video.size[1])), width)
    caption = np.asarray(text_block(words(scene), width))
    for frame, picture in zip(wanted, video.frames(wanted)):
        yield np.concatenate([_drawn(scene, int(frame), picture, size), caption])


def _drawn(scene: Scene, frame: int, picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    example, layers, label = scene.example, {}, str(frame)
    for phrase in scene.phrases:
        if frame not in example.frames_of(phrase):
            label = f"{frame}: not annotated"
        elif (rle := example.mask_of(phrase, frame)) is not None:
            layers[phrase.objects] = (fit(decode(rle), size), scene.colours[phrase.objects])
    return stamp(paint(fit(picture, size), list(layers.values())), label)
