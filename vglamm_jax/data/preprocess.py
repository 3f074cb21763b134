"""Pixels for the three encoders, and mask logits back to pixels (facts 3.2 to 3.5).

Each encoder sees the frame differently: CLIP crops its centre, InternVideo2 and SAM2 squash all of it.
A uint8 pixel has 256 values per channel, so normalisation is a table look-up. Training keeps uint8 on the host
(`clip_resized`, `internvideo2_resized`, `sam2_resized`), a quarter of the bytes, and normalises on the device
(`normalised`).
"""

from collections.abc import Iterable
from functools import cache
from typing import Literal

import cv2
import numpy as np
from PIL import Image

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SAM2_MEAN, SAM2_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_STATISTICS = {  # of grey levels 0 to 255
    "clip": (np.multiply(CLIP_MEAN, 255), np.multiply(CLIP_STD, 255)),
    "internvideo2": (np.multiply(IMAGENET_MEAN, 255), np.multiply(IMAGENET_STD, 255)),
    "sam2": (np.array(SAM2_MEAN), np.array(SAM2_STD)),
}


def clip_pixels(frames: Iterable[np.ndarray], size: int = 336) -> np.ndarray:
    """uint8 [T, H, W, 3] -> float32 [T, size, size, 3]: shortest edge to `size` (bicubic), centre crop (facts 3.2)."""
    return np.stack([_normalise(clip_resized(f, size), _clip_table()) for f in frames])


def internvideo2_pixels(frames: Iterable[np.ndarray], size: int = 224) -> np.ndarray:
    """uint8 [T, H, W, 3] -> float32 [T, size, size, 3]: bilinear, aspect ignored (facts 3.3)."""
    return np.stack([_normalise(internvideo2_resized(f, size), _imagenet_table()) for f in frames])


def sam2_pixels(frames: Iterable[np.ndarray], size: int = 1024) -> np.ndarray:
    """uint8 [T, H, W, 3] -> float32 [T, size, size, 3]; 12 MiB a frame at 1024, so give long videos in pieces."""
    return np.stack([sam2_frame(f, size) for f in frames])


def sam2_frame(frame: np.ndarray, size: int = 1024) -> np.ndarray:
    """One frame, uint8 [H, W, 3] -> float32 [size, size, 3]: longest side to `size`, then stretched (facts 3.4)."""
    height, width = longest_side(frame.shape[:2], size)
    resized = np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR))
    return cv2.resize(_normalise(resized, _sam2_table()), (size, size), interpolation=cv2.INTER_LINEAR)


def clip_resized(frame: np.ndarray, size: int) -> np.ndarray:
    """uint8 [H, W, 3] -> uint8 [size, size, 3], what `clip_pixels` normalises."""
    return _centre_crop(_shortest_edge(frame, size), size)


def internvideo2_resized(frame: np.ndarray, size: int) -> np.ndarray:
    """uint8 [H, W, 3] -> uint8 [size, size, 3], what `internvideo2_pixels` normalises."""
    return cv2.resize(frame, (size, size))


def sam2_resized(frame: np.ndarray, size: int) -> np.ndarray:
    """uint8 [H, W, 3] -> uint8 [size, size, 3]: as `sam2_frame`, but stretched before normalising.

    Rounding after the stretch costs less than a grey level, 0.004 on average after normalising.
    """
    height, width = longest_side(frame.shape[:2], size)
    resized = np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR))
    return cv2.resize(resized, (size, size), interpolation=cv2.INTER_LINEAR)


def normalised(pixels, encoder: Literal["clip", "internvideo2", "sam2"]):
    """uint8 [..., 3] -> float32 [..., 3], numpy or JAX arrays alike, so that a device can do it.

    Other types count as normalised already: `sam2_pixels` and its kin, where every bit matters.
    """
    if pixels.dtype != np.uint8:
        return pixels
    mean, std = _STATISTICS[encoder]
    return pixels.astype(np.float32) * (1 / np.float32(std)) - np.float32(np.divide(mean, std))


def longest_side(size: tuple[int, int], target: int) -> tuple[int, int]:
    """(H, W) scaled so that the longer one is `target`, rounded half up."""
    scale = target / max(size)
    return max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))


def resize_logits(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """float32 [..., h, w] -> float32 [..., H, W], bilinear as torch does it (no corner alignment, no antialias)."""
    height, width = size
    maps = np.ascontiguousarray(logits, np.float32).reshape(-1, *logits.shape[-2:])
    out = np.empty((len(maps), height, width), np.float32)
    for source, target in zip(maps, out):
        cv2.resize(source, (width, height), dst=target, interpolation=cv2.INTER_LINEAR)
    return out.reshape(*logits.shape[:-2], height, width)


def masks_from_logits(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Mask logits [..., h, w] of one frame -> bool [..., H, W] at the size of the video (facts 3.5)."""
    return resize_logits(logits, size) > 0


def _shortest_edge(frame: np.ndarray, size: int) -> np.ndarray:
    height, width = frame.shape[:2]
    short, long = min(height, width), max(height, width)
    scaled = int(size * long / short)
    target = (scaled, size) if height <= width else (size, scaled)
    return np.asarray(Image.fromarray(frame).resize(target, Image.Resampling.BICUBIC))


def _centre_crop(frame: np.ndarray, size: int) -> np.ndarray:
    top, left = (frame.shape[0] - size) // 2, (frame.shape[1] - size) // 2
    return np.ascontiguousarray(frame[top : top + size, left : left + size])


def _normalise(frame: np.ndarray, table: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] -> float32 [H, W, 3] through a table [1, 256, 3]."""
    return cv2.LUT(np.ascontiguousarray(frame), table)


@cache
def _clip_table() -> np.ndarray:
    levels = np.arange(256, dtype=np.float32)[:, None] * np.float32(1 / 255)
    return ((levels - np.float32(CLIP_MEAN)) / np.float32(CLIP_STD))[None]


@cache
def _imagenet_table() -> np.ndarray:
    levels = np.arange(256, dtype=np.float64)[:, None] / 255
    return ((levels - IMAGENET_MEAN) / IMAGENET_STD).astype(np.float32)[None]


@cache
def _sam2_table() -> np.ndarray:
    levels = np.arange(256, dtype=np.float32)[:, None]
    return ((levels - np.float32(SAM2_MEAN)) / np.float32(SAM2_STD))[None]
