"""Files of which the tests make public video sets in their own layouts: pictures, masks and clips of 8 x 12 pixels."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from vglamm_jax.data.masks import decode, encode
from vglamm_jax.data.video_writer import write_video

SIZE = (8, 12)


def block(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    """A rectangle as bool [8, 12]."""
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return mask


LEFT, RIGHT, MIDDLE = block(1, 0, 5, 4), block(2, 8, 8, 12), block(3, 3, 6, 9)
NONE = np.zeros(SIZE, bool)


def write_json(path: Path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def write_text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def picture(path: Path, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1], (90, 120, 40)).save(path)


def mask_picture(path: Path, mask: np.ndarray) -> None:
    """0 and 255."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)


def labels(path: Path, masks: dict[int, np.ndarray]) -> None:
    """A palette PNG; later labels cover earlier ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros(SIZE, np.uint8)
    for label, mask in masks.items():
        values[mask] = label
    image = Image.fromarray(values, "P")
    image.putpalette([level for label in range(256) for level in (label, 255 - label, 99)])
    image.save(path)


def clip(path: Path, frames: int = 10, fps: float = 5.0) -> None:
    write_video(path, (np.full((*SIZE, 3), 20 * n, np.uint8) for n in range(frames)), fps)


def rle(mask: np.ndarray) -> dict:
    """COCO's compressed form."""
    encoded = encode(mask)
    return {"size": list(SIZE), "counts": encoded.counts}


def runs(mask: np.ndarray) -> dict:
    """COCO's uncompressed form, columns first."""
    flat = mask.T.reshape(-1)
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    return {"size": list(SIZE), "counts": [0, *counts] if flat[0] else counts}


def masks_of(example, id: str) -> dict[int, np.ndarray]:
    """The masks of an object, decoded."""
    return {frame: decode(one, SIZE) for frame, one in example.object(id).masks.items()}


def same(found: dict[int, np.ndarray], wanted: dict[int, np.ndarray]) -> bool:
    return list(found) == list(wanted) and all(np.array_equal(found[frame], wanted[frame]) for frame in wanted)


def phrases_of(turn) -> list[tuple[str, tuple[str, ...]]]:
    """(words, object ids) of each [SEG]."""
    return [(turn.answer[phrase.start : phrase.end], phrase.objects) for phrase in turn.phrases]
