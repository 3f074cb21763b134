"""Clips for people to look at: frames with outlined masks, and below them what is said about them."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from vglamm_jax.data.drawing import BACKGROUND, FAINT, Colour, Run, below, colour, stamp, text_block
from vglamm_jax.data.synthetic.benchmark import Clip

GAP = 4


def sheet(clips: Iterable[Clip], path: str | Path | None = None, *, frames: int = 6, width: int = 1180) -> Image.Image:
    """An RGB image with a panel for each clip; saved as a PNG of 256 colours when a path is given.

    A panel has some frames, the caption with each phrase in the colour of its mask's outline, an expression of each
    kind in the colours of what it means (several: word by word), and a moment with its frames.
    """
    image = below([_panel(clip, frames, width) for clip in clips], gap=3 * GAP)
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        image.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(path, optimize=True)
    return image


def _panel(clip: Clip, count: int, width: int) -> Image.Image:
    cell = (width - GAP * (count + 1)) // count
    height, original = clip.frames.shape[1:3]
    cell -= cell % original if cell > original else 0  # whole multiples keep small shapes straight
    size = (round(cell * height / original), cell)
    colours = _colours(clip)
    strip = Image.new("RGB", (width, size[0] + 2 * GAP), BACKGROUND)
    chosen = np.unique(np.linspace(0, len(clip.frames) - 1, count).round().astype(int))
    for n, t in enumerate(chosen):
        picture = _outlined(clip.frames[t], clip.masks[:, t], colours, size)
        strip.paste(Image.fromarray(stamp(picture, str(t))), (GAP + n * (cell + GAP), GAP))
    return below([strip, text_block(_lines(clip, colours), width)])


def _colours(clip: Clip) -> list[Colour]:
    """One a thing, those of the caption first."""
    order = [phrase.thing for phrase in clip.caption.phrases]
    order += [i for i in range(len(clip.masks)) if i not in order]
    return [colour(order.index(i)) for i in range(len(clip.masks))]


def _outlined(frame: np.ndarray, masks: np.ndarray, colours: list[Colour], size: tuple[int, int]) -> np.ndarray:
    """Enlarged, with a line along the inside of each mask: the things' own colours stay to be seen."""
    out = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_NEAREST)
    width = max(1, size[1] // 90)
    brush = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    for mask, ink in zip(masks, colours):
        large = cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST)
        out[(cv2.dilate(large, brush) > large)] = ink
    return out


def _lines(clip: Clip, colours: list[Colour]) -> list[list[Run]]:
    lines = [_caption(clip, colours)]
    shown = set()
    for n, one in enumerate(clip.expressions):
        # Alternately declarative and interrogative, one of each kind.
        form = ("declarative", "interrogative")[len(shown) % 2]
        last = n + 1 == len(clip.expressions) or clip.expressions[n + 1].kind != one.kind
        if one.kind not in shown and (one.form == form or last):
            shown.add(one.kind)
            lines.append([Run(f"{one.kind}:  ", FAINT), *_coloured(one.text, [colours[i] for i in one.things])])
    for one in clip.moments[:1]:
        frames = Run("   frames {} to {}".format(*one.frames), FAINT)
        lines.append([Run("when:  ", FAINT), *_coloured(one.text, [colours[one.thing]]), frames])
    return lines


def _coloured(text: str, inks: list[Colour]) -> list[Run]:
    """The words take turns in the colours; grey for what is not there."""
    inks = inks or [FAINT]
    return [Run(word + " ", inks[n % len(inks)]) for n, word in enumerate(text.split())]


def _caption(clip: Clip, colours: list[Colour]) -> list[Run]:
    runs, position = [], 0
    for phrase in clip.caption.phrases:
        runs.append(Run(clip.caption.text[position : phrase.start]))
        runs.append(Run(clip.caption.text[phrase.start : phrase.end], colours[phrase.thing]))
        position = phrase.end
    return [*runs, Run(clip.caption.text[position:])]
