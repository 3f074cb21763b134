"""The words of an answer as a strip of pixels, each phrase on a chip in the colour of its mask.

Words are wrapped, ideographs may break anywhere, and the type shrinks until a long answer fits.
"""

import dataclasses
import itertools
import re
from collections.abc import Iterable, Sequence

from PIL import Image, ImageDraw

from vglamm_jax.infer.fonts import text_length, write

Colour = tuple[int, int, int]

BACKGROUND: Colour = (18, 20, 24)
TEXT: Colour = (232, 234, 238)
_PALETTE: tuple[Colour, ...] = (
    (255, 92, 87),
    (66, 165, 255),
    (255, 202, 58),
    (80, 216, 130),
    (190, 124, 255),
    (255, 146, 56),
    (62, 222, 226),
    (255, 120, 196),
    (170, 214, 60),
    (150, 160, 255),
)


_PIECE = re.compile(r"\n|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\s\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]{1,24}")


@dataclasses.dataclass(frozen=True)
class Chip:
    """Characters [start, stop) of the caption and the colour behind them."""

    start: int
    stop: int
    colour: Colour


def palette(index: int) -> Colour:
    """Colours that stay apart; the ten repeat, darker, for further objects."""
    shade = 0.72 ** (index // len(_PALETTE))
    return tuple(int(v * shade) for v in _PALETTE[index % len(_PALETTE)])


def caption_strip(
    text: str, chips: Iterable[Chip], width: int, max_height: int, extra: Sequence[tuple[str, Colour]] = ()
) -> Image.Image:
    """RGB image of `width` pixels with the wrapped text; `extra` are chips after it, for objects without words.

    The type gets smaller for long texts, down to 12 pixels; what then still exceeds `max_height` ends in "…".
    """
    largest = max(14, min(44, width // 34))
    for size in range(largest, 11, -2):
        lines = _wrap(_words(text, list(chips), extra), size, width)
        if _height(len(lines), size) <= max_height:
            break
    room = max(1, (max_height - size) // _line_height(size))
    if len(lines) > room:
        lines = [*lines[: room - 1], _shortened(lines[room - 1])]
    return _draw(lines, size, width)


@dataclasses.dataclass(frozen=True)
class _Word:
    text: str
    chip: Chip | None = None
    space: bool = False  # whether a space precedes it
    newline: bool = False


@dataclasses.dataclass(frozen=True)
class _Placed:
    word: _Word
    x: float
    end: float


def _shortened(line: list[_Placed]) -> list[_Placed]:
    """The last line that fits, its last word replaced by an ellipsis."""
    last = line[-1]
    return [*line[:-1], _Placed(_Word("…"), last.x, last.end)]


def _words(text: str, chips: list[Chip], extra: Sequence[tuple[str, Colour]]) -> list[_Word]:
    """Pieces that are never broken: words, cut where a chip begins or ends, and single ideographs."""
    edges = {edge for chip in chips for edge in (chip.start, chip.stop)}
    words = []
    for match in _PIECE.finditer(text):
        if match.group() == "\n":
            words.append(_Word("", newline=True))
            continue
        cuts = [match.start(), *sorted(e for e in edges if match.start() < e < match.end()), match.end()]
        for start, stop in itertools.pairwise(cuts):
            chip = next((c for c in chips if c.start <= start < c.stop), None)
            words.append(_Word(text[start:stop], chip, space=start > 0 and text[start - 1].isspace()))
    return words + [_Word(label, Chip(-1, -1, colour), space=True) for label, colour in extra]


def _wrap(words: list[_Word], size: int, width: int) -> list[list[_Placed]]:
    """Words at their places; where a chip begins or ends there is room for its edge."""
    lines: list[list[_Placed]] = [[]]
    x, room, previous = 0.0, width - 2 * size, None
    for word in words:
        edges = _edge(size) * (
            (word.chip is not previous) + (word.chip is not previous and None not in (word.chip, previous))
        )
        start = x + edges + (_space(size) if word.space and lines[-1] else 0)
        length = text_length(word.text, size)
        if word.newline or (lines[-1] and start + length > room):
            lines.append([])
            start = 0.0
        x, previous = start, word.chip
        if not word.newline:
            lines[-1].append(_Placed(word, start, start + length))
            x = start + length
    return [line for line in lines if line] or [[]]


def _draw(lines: list[list[_Placed]], size: int, width: int) -> Image.Image:
    image = Image.new("RGB", (width, _height(len(lines), size)), BACKGROUND)
    draw = ImageDraw.Draw(image)
    for n, line in enumerate(lines):
        baseline = size * 1.75 + n * _line_height(size)
        for chip, group in itertools.groupby(line, key=lambda placed: placed.word.chip):
            placed = list(group)
            if chip is not None:
                left, right = size + placed[0].x - _edge(size), size + placed[-1].end + _edge(size)
                box = (left, baseline - size * 1.08, right, baseline + size * 0.42)
                draw.rounded_rectangle(box, size * 0.3, fill=chip.colour)
            for word in placed:
                write(draw, size + word.x, baseline, word.word.text, size, _ink(chip))
    return image


def _ink(chip: Chip | None) -> Colour:
    if chip is None:
        return TEXT
    luminance = 0.299 * chip.colour[0] + 0.587 * chip.colour[1] + 0.114 * chip.colour[2]
    return (16, 18, 22) if luminance > 110 else (255, 255, 255)


def _space(size: int) -> float:
    return size * 0.28


def _edge(size: int) -> float:
    """How far a chip reaches beyond its words."""
    return size * 0.22


def _line_height(size: int) -> int:
    return round(size * 1.75)


def _height(lines: int, size: int) -> int:
    height = size + max(1, lines) * _line_height(size)
    return height + height % 2
