"""What the video sources share: media by file or by folder of pictures, and masks kept as pictures."""

import functools
import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

from vglamm_jax.data.schema import Media, Span
from vglamm_jax.data.sources.own import DataError
from vglamm_jax.data.sources.pictures import required, size_of
from vglamm_jax.data.video import open_video

SUFFIXES = (".mp4", ".mkv", ".webm")


def names_in(folder: Path, layout: str, suffix: str = "") -> list[str]:
    """What a folder holds, sorted (the original took the order of the disk, facts 10.59). Raises FileNotFoundError."""
    return sorted(path.name for path in required(folder, layout).iterdir() if path.name.endswith(suffix))


def optional_package(name: str, purpose: str) -> ModuleType:
    """A package that only few data sets need.

    Raises:
        DataError: not installed; the message says how to.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise DataError(f"{package} {purpose}, but is not installed: pip install {package}") from error


def find_video(root: Path, folder: str, id: str) -> str:
    """The place of a video that may be .mp4, .mkv or .webm. Raises FileNotFoundError."""
    for suffix in SUFFIXES:
        if (root / folder / f"{id}{suffix}").is_file():
            return f"{folder}/{id}{suffix}"
    raise FileNotFoundError(f"its video {root / folder / id} ({', '.join(SUFFIXES)}) is missing")


def file_media(root: Path, place: str, clip: Span | None = None) -> Media:
    """A video file, opened for its size, length and frame rate. Raises VideoError."""
    size, length, fps = _headers(root / place)
    return Media(kind="video", path=place, size=size, length=length, fps=fps, clip=clip)


@functools.lru_cache(maxsize=64)
def _headers(path: Path) -> tuple[tuple[int, int], int, float]:
    video = open_video(path)
    return tuple(video.size), len(video), float(video.fps)


def frames_media(root: Path, places: Sequence[str], fps: float | None = None) -> Media:
    """A video kept as pictures, of the size of the first one. Raises FileNotFoundError, ValueError."""
    if not places:
        raise ValueError("has no frames")
    missing = [place for place in places if not (root / place).is_file()]
    if missing:
        raise FileNotFoundError(f"its frame {root / missing[0]} is missing ({len(missing)} of {len(places)} are)")
    return Media(kind="video", frames=tuple(places), size=size_of(root / places[0]), length=len(places), fps=fps)


def span_of(first: int, stop: int, fps: float) -> Span:
    """Seconds of the frames first, ..., stop - 1: from half a frame before, lest rounding moves one over a border."""
    return max(0.0, first - 0.5) / fps, (stop - 0.5) / fps


def as_long_as(media: Media, count: int) -> Media:
    """The media, if it is as long as its annotation says but for two frames, or one in fifty. Raises ValueError."""
    if abs(media.length - count) > max(2, count / 50):
        raise ValueError(f"{media.path} has {media.length} frames, but was annotated with {count}: another cut")
    return media


def binary_mask(path: Path) -> np.ndarray:
    """A picture that is white inside a mask -> bool [H, W]. Raises FileNotFoundError, OSError."""
    if not path.is_file():
        raise FileNotFoundError(f"its mask {path} is missing")
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L")) >= 128
