"""Masks as COCO run lengths, small enough to live in a JSON line, and everything that becomes one.

rle = encode(mask)              # None when the mask is empty
decode(rle)                     # bool [H, W]
as_rle(segmentation, size)      # polygons, uncompressed or compressed RLE, as found in COCO files
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco

Size = tuple[int, int]  # (height, width)
LARGEST = 2**30  # pixels; pycocotools counts with 32 bits and trusts what it is given


class MaskError(ValueError):
    """Something that is no mask; the message says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rle:
    """COCO's compressed run lengths of one mask."""

    size: Size
    counts: str


def encode(mask: np.ndarray) -> Rle | None:
    """[H, W], anything but 0 is inside -> RLE; None for a mask without a pixel."""
    mask = np.asarray(mask)
    if not mask.any():
        return None
    return _from_coco(coco.encode(np.asfortranarray(mask != 0, np.uint8)))


def decode(rle: Rle | None, size: Size | None = None) -> np.ndarray:
    """bool [H, W]; None becomes an empty mask of `size`."""
    if rle is None:
        return np.zeros(size, bool)
    return coco.decode(_to_coco(rle)).astype(bool)


def union(rles: Iterable[Rle | None]) -> Rle | None:
    """Pixels inside any of them."""
    rles = [rle for rle in rles if rle is not None]
    if len(rles) < 2:
        return rles[0] if rles else None
    return _from_coco(coco.merge([_to_coco(rle) for rle in rles]))


def area(rle: Rle | None) -> int:
    """Pixels inside."""
    return 0 if rle is None else int(coco.area(_to_coco(rle)))


def box(rle: Rle) -> tuple[float, float, float, float]:
    """(x, y, width, height) in pixels."""
    return tuple(coco.toBbox(_to_coco(rle)).tolist())


def resize(mask: np.ndarray, size: Size) -> np.ndarray:
    """bool [..., H, W] -> bool [..., *size], nearest neighbour."""
    mask = np.asarray(mask, bool)
    if mask.shape[-2:] == tuple(size):
        return mask
    flat = mask.reshape(-1, *mask.shape[-2:]).astype(np.uint8)
    resized = [cv2.resize(one, size[::-1], interpolation=cv2.INTER_NEAREST) for one in flat]
    return np.array(resized, bool).reshape(*mask.shape[:-2], *size)


def as_rle(segmentation: Any, size: Size) -> Rle | None:
    """A COCO segmentation in any of its forms: None, polygons [[x, y, x, y, ...], ...], or run lengths.

    Run lengths are {"size": [h, w], "counts": text, bytes or a list of numbers}. None when nothing is inside.

    Raises:
        MaskError: another form, or run lengths that do not fill their size.
    """
    if segmentation is None or segmentation == []:
        return None
    if isinstance(segmentation, list):
        return from_polygons(segmentation, _size(size))
    if not isinstance(segmentation, dict) or "counts" not in segmentation:
        raise MaskError(f"expected polygons, run lengths or null, got {_short(segmentation)}")
    counts, own_size = segmentation["counts"], _size(segmentation.get("size", size))
    if isinstance(counts, list):
        return from_runs(counts, own_size)
    if isinstance(counts, bytes):
        counts = counts.decode("ascii", "replace")
    if not isinstance(counts, str):
        raise MaskError(f"counts must be text or a list of numbers, got {_short(counts)}")
    rle = Rle(own_size, counts)
    check(rle)
    return rle if area(rle) else None


def from_polygons(polygons: Sequence, size: Size) -> Rle | None:
    """[[x, y, x, y, ...], ...] or [[[x, y], ...], ...] in pixels -> RLE of their union.

    Raises:
        MaskError: fewer than three points, or something that is not a number.
    """
    flat = []
    for polygon in polygons:
        try:
            points = np.asarray(polygon, np.float64).reshape(-1)
        except (TypeError, ValueError) as error:
            raise MaskError(f"a polygon must be a list of numbers x, y, x, y, ..., got {_short(polygon)}") from error
        if len(points) < 6 or len(points) % 2:
            raise MaskError(f"a polygon needs at least three points, got {_short(polygon)}")
        if not (np.abs(points) <= 2 * max(size)).all():
            raise MaskError(f"a polygon far outside of {size[1]} x {size[0]} pixels: {_short(polygon)}")
        flat.append(points.tolist())
    rle = _from_coco(coco.merge(coco.frPyObjects(flat, *size)))
    return rle if area(rle) else None


def from_runs(counts: Sequence[int], size: Size) -> Rle | None:
    """Uncompressed run lengths (column by column, outside first) -> RLE.

    Raises:
        MaskError: they do not add up to height x width.
    """
    if (
        not counts
        or not all(isinstance(count, int) and count >= 0 for count in counts)
        or sum(counts) != size[0] * size[1]
    ):
        raise MaskError(f"run lengths must be whole numbers that add up to {size[0]} x {size[1]}")
    rle = _from_coco(coco.frPyObjects({"size": list(size), "counts": list(counts)}, *size))
    return rle if area(rle) else None


def check(rle: Rle) -> None:
    """Raises MaskError unless the run lengths fill the size exactly (pycocotools does not look)."""
    runs = run_lengths(rle.counts)
    if (runs < 0).any() or runs.sum() != rle.size[0] * rle.size[1]:
        raise MaskError(f"damaged run lengths: they cover {runs.sum()} pixels, not {rle.size[0]} x {rle.size[1]}")


def run_lengths(counts: str) -> np.ndarray:
    """COCO's compressed text -> int64 run lengths, outside first.

    Each number is written in groups of 5 bits, low ones first, as characters from "0" on; bit 6 says that more follow.
    From the fourth on, numbers are differences to the last but one.

    Raises:
        MaskError: characters that do not occur in such text.
    """
    codes = np.frombuffer(counts.encode("utf-8"), np.uint8).astype(np.int64) - 48
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise MaskError(f"not COCO's compressed run lengths: {_short(counts)}")
    last = (codes & 32) == 0
    starts = np.flatnonzero(np.concatenate([[True], last[:-1]]))
    lengths = np.diff(np.concatenate([starts, [len(codes)]]))
    place = np.arange(len(codes)) - np.repeat(starts, lengths)
    if lengths.max() > 8:
        raise MaskError(f"not COCO's compressed run lengths: {_short(counts)}")
    runs = np.add.reduceat((codes & 31) << (5 * place), starts)
    negative = (codes[last] & 16) != 0
    runs[negative] -= np.int64(1) << (5 * lengths[negative])
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


def _to_coco(rle: Rle) -> dict:
    return {"size": list(rle.size), "counts": rle.counts.encode("ascii")}


def _from_coco(value: dict) -> Rle:
    return Rle((int(value["size"][0]), int(value["size"][1])), value["counts"].decode("ascii"))


def _size(value: Any) -> Size:
    whole = isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(side, int) for side in value)
    if not whole or min(value) < 1 or value[0] * value[1] > LARGEST:
        raise MaskError(f"size must be [height, width] in pixels, got {_short(value)}")
    return int(value[0]), int(value[1])


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
