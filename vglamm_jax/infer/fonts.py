"""Fonts for any script, chosen character by character: Pillow's own, then the system's, then OpenCV 5's own.

Pillow's is the best looking and knows Latin letters only; OpenCV 5's knows Cyrillic, Greek, Chinese, Japanese and
Korean, so that those can be drawn on a machine without any font.
"""

from functools import cache
from typing import Protocol

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

_SYSTEM = (
    "NotoSans-Regular.ttf",
    "DejaVuSans.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansArabic-Regular.ttf",
    "NotoSansDevanagari-Regular.ttf",
    "Arial Unicode.ttf",
    "PingFang.ttc",
    "msyh.ttc",
    "arial.ttf",
)


class Font(Protocol):
    def length(self, text: str) -> float: ...

    def draw(
        self, draw: ImageDraw.ImageDraw, x: float, baseline: float, text: str, ink: tuple[int, int, int]
    ) -> None: ...

    def has(self, character: str) -> bool: ...


class PillowFont:
    def __init__(self, font: ImageFont.FreeTypeFont):
        self._font = font
        self._missing = font.getmask("\U0010fffe")

    def length(self, text: str) -> float:
        return self._font.getlength(text)

    def draw(self, draw, x, baseline, text, ink) -> None:
        draw.text((x, baseline), text, font=self._font, fill=ink, anchor="ls")

    def has(self, character: str) -> bool:
        """A font draws every letter it lacks as the same box."""
        glyph = self._font.getmask(character)
        return glyph.size != self._missing.size or bytes(glyph) != bytes(self._missing)


class OpenCvFont:
    def __init__(self, size: int):
        self._face, self._size = cv2.FontFace("sans"), size

    def length(self, text: str) -> float:
        x, _, width, _ = cv2.getTextSize((1, 1), text, (0, 0), self._face, self._size)
        return x + width + self._size * 0.06

    def draw(self, draw, x, baseline, text, ink) -> None:
        draw.bitmap((round(x), round(baseline) - 2 * self._size), Image.fromarray(self._picture(text)), fill=ink)

    def has(self, character: str) -> bool:
        return character == "?" or not np.array_equal(self._picture(character), self._picture("?"))

    def _picture(self, text: str) -> np.ndarray:
        picture = np.zeros((3 * self._size, int(self.length(text)) + self._size, 3), np.uint8)
        cv2.putText(picture, text, (0, 2 * self._size), (255, 255, 255), self._face, self._size)
        return np.ascontiguousarray(picture[..., 0])


def runs(text: str, size: int) -> list[tuple[str, Font]]:
    """Stretches of text that one font can draw."""
    out: list[tuple[str, Font]] = []
    for character in text:
        font = _font_for(character, size)
        if out and out[-1][1] is font:
            out[-1] = (out[-1][0] + character, font)
        else:
            out.append((character, font))
    return out


def text_length(text: str, size: int) -> float:
    return sum(font.length(run) for run, font in runs(text, size))


def write(
    draw: ImageDraw.ImageDraw, x: float, baseline: float, text: str, size: int, ink: tuple[int, int, int]
) -> None:
    for run, font in runs(text, size):
        font.draw(draw, x, baseline, run, ink)
        x += font.length(run)


@cache
def _font_for(character: str, size: int) -> Font:
    fonts = _fonts(size)
    if character.isascii():
        return fonts[0]
    return next((font for font in fonts if font.has(character)), fonts[0])


@cache
def _fonts(size: int) -> tuple[Font, ...]:
    fonts: list[Font] = [PillowFont(ImageFont.load_default(size))]
    for name in _SYSTEM:
        try:
            fonts.append(PillowFont(ImageFont.truetype(name, size)))
        except OSError:
            continue
    if hasattr(cv2, "FontFace"):
        fonts.append(OpenCvFont(size))
    return tuple(fonts)
