"""Pictures with masks laid over them, and lines of coloured words."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

BACKGROUND: Colour = (20, 22, 26)
INK: Colour = (225, 227, 232)
FAINT: Colour = (150, 154, 162)
COLOURS: tuple[Colour, ...] = (
    (255, 99, 92),
    (72, 170, 255),
    (255, 206, 66),
    (88, 216, 136),
    (196, 132, 255),
    (255, 152, 64),
    (70, 222, 226),
    (255, 128, 200),
)
OPACITY = 0.4


class Run(NamedTuple):
    """Words of one colour."""

    text: str
    colour: Colour = INK


def colour(index: int) -> Colour:
    """Colours that stay apart; they repeat after eight."""
    return COLOURS[index % len(COLOURS)]


def paint(frame: np.ndarray, layers: Sequence[tuple[np.ndarray, Colour]]) -> np.ndarray:
    """uint8 [H, W, 3] with masks bool [H, W] tinted and outlined in their colours.

    The smaller ones are on top; what lies under another has a wider outline, so that both are seen.
    """
    out = frame.copy()
    width = max(1, round(min(frame.shape[:2]) / 240))
    layers = sorted(layers, key=lambda layer: layer[0].sum(), reverse=True)
    for mask, ink in layers:
        out[mask] = (frame[mask] * (1 - OPACITY) + np.float32(ink) * OPACITY).round().astype(np.uint8)
    for n, (mask, ink) in enumerate(layers):
        covered = any((mask & other).any() for other, _ in layers[n + 1 :])
        outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(out, outlines, -1, ink, 3 * width if covered else width)
    return out


def text_block(lines: Sequence[Sequence[Run]], width: int, size: int = 15) -> Image.Image:
    """An RGB image of `width` pixels with each line wrapped at its words."""
    font, height = ImageFont.load_default(size), round(size * 1.5)
    placed = []
    row = 0
    for line in lines:
        x = float(size)
        for word, ink in _words(line):
            length = font.getlength(word)
            if x + length > width - size and x > size:
                x, row = float(size), row + 1
                word = word.lstrip()
                length = font.getlength(word)
            placed.append((x, row, word, ink))
            x += length
        row += 1
    image = Image.new("RGB", (width, row * height + size), BACKGROUND)
    draw = ImageDraw.Draw(image)
    for x, n, word, ink in placed:
        draw.text((x, size // 2 + n * height), word, font=font, fill=ink)
    return image


def stamp(picture: np.ndarray, text: str) -> np.ndarray:
    """A small label in the upper left corner."""
    image = Image.fromarray(picture)
    size = max(11, image.width // 24)
    font, draw = ImageFont.load_default(size), ImageDraw.Draw(image)
    draw.rectangle(draw.textbbox((4, 2), text, font=font), fill=BACKGROUND)
    draw.text((4, 2), text, font=font, fill=INK)
    return np.asarray(image)


def fit(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture or mask at (height, width); masks stay bool."""
    if image.shape[:2] == size:
        return image
    if image.dtype == bool:
        return cv2.resize(image.astype(np.uint8), size[::-1], interpolation=cv2.INTER_AREA) > 0
    shrinks = size[0] < image.shape[0]
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def below(images: Sequence[Image.Image], gap: int = 0) -> Image.Image:
    """One under the other, all at the left edge."""
    width = max(image.width for image in images)
    out = Image.new("RGB", (width, sum(image.height + gap for image in images)), BACKGROUND)
    y = 0
    for image in images:
        out.paste(image, (0, y))
        y += image.height + gap
    return out


def _words(line: Sequence[Run]):
    """Words with the spaces before them."""
    for run in line:
        start = 0
        while start < len(run.text):
            stop = start
            while stop < len(run.text) and run.text[stop].isspace():
                stop += 1
            while stop < len(run.text) and not run.text[stop].isspace():
                stop += 1
            yield run.text[start:stop].replace("\n", " "), run.colour
            start = stop
