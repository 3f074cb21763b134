"""ReasonSeg: one mask an image, asked for in words that take reasoning, and some answers explained (facts 6.4).

A turn for each wording. Where the image has an explanation, each wording comes with two more: the mask and the
explanation, and the explanation alone. The original draws up to 3 wordings, and the kinds of answer with the odds
45 : 45 : 10; those are in `meta["weights"]`, one a turn. What is marked "ignore" is in `meta["ignore"]` as a COCO RLE:
it counts neither as inside nor as outside (`data.hints`).
"""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from vglamm_jax.data import templates
from vglamm_jax.data.masks import encode
from vglamm_jax.data.schema import BadRecord, Example, Obj, Turn
from vglamm_jax.data.sources.own import DataError, segment_turn, tidy
from vglamm_jax.data.sources.pictures import guarded, known_split, picture, read_list, required, share
from vglamm_jax.data.sources.registry import WHOLE, Part

LAYOUT = (
    "reason_seg/ReasonSeg/{train,val,test}/*.jpg with a .json of the same name each, and "
    "reason_seg/ReasonSeg/explanatory/train.json (optional)"
)
SOURCE = "reason_seg"
SPLITS = ("train", "val", "test")
ODDS = {"mask": 0.45, "mask and explanation": 0.45, "explanation": 0.1}
INSIDE, IGNORE = 1, 255
_TARGET = "target"


def examples(root: Path, split: str = "train", *, part: Part = WHOLE) -> Iterator[Example | BadRecord]:
    """An example a picture, in order of their names.

    Raises:
        FileNotFoundError, ValueError: see `registry.examples`.
    """
    folder = Path("reason_seg/ReasonSeg")
    images = sorted(required(root / folder / known_split(split, SPLITS, SOURCE), LAYOUT).glob("*.jpg"))
    explained = _explanations(root / folder / "explanatory/train.json")
    for path in share(images, part):
        found = _example(root, split, f"{folder}/{split}/{path.name}", explained.get(path.name))
        yield from guarded(SOURCE, path.stem, found)


def _explanations(path: Path) -> dict[str, str]:
    return {entry["image"]: entry["outputs"] for entry in read_list(path, LAYOUT)} if path.exists() else {}


def _example(root: Path, split: str, place: str, explanation: str | None) -> Iterator[Example]:
    media = picture(root, place)
    notes = _notes((root / place).with_suffix(".json"))
    values = paint(notes["shapes"], media.size)
    mask, ignore = encode(values == INSIDE), encode(values == IGNORE)
    if mask is None:
        raise DataError("no pixel is marked as the target")
    turns = [turn for text in notes["text"] for turn in _turns(text, notes["is_sentence"], explanation)]
    meta: dict = {"weights": [*ODDS.values()] * len(notes["text"])} if explanation else {}
    if ignore is not None:
        meta["ignore"] = {"size": list(ignore.size), "counts": ignore.counts}
    yield Example(
        id=Path(place).stem,
        source=SOURCE,
        split=split,
        media=media,
        objects=(Obj(id=_TARGET, masks={0: mask}),),
        turns=tuple(turns),
        independent=True,
        meta=meta,
    )


def _notes(path: Path) -> dict:
    """Some of the files are Windows-1252."""
    if not path.exists():
        raise DataError(f"its {path} is missing")
    content = path.read_bytes()
    try:
        return json.loads(content.decode("utf-8"))
    except UnicodeDecodeError:
        return json.loads(content.decode("cp1252"))


def paint(shapes: list[dict], size: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W]: 0 outside, 1 inside, 255 ignored. Polygons are painted from the largest to the smallest."""
    shapes = [shape for shape in shapes if shape["label"].lower() != "flag"]
    areas = [_fill(np.zeros(size, np.uint8), shape["points"], 1).sum() for shape in shapes]
    canvas = np.zeros(size, np.uint8)
    for i in np.argsort(areas)[::-1]:
        _fill(canvas, shapes[i]["points"], IGNORE if "ignore" in shapes[i]["label"].lower() else INSIDE)
    return canvas


def _fill(canvas: np.ndarray, points, value: int) -> np.ndarray:
    """The outline belongs to the polygon."""
    corners = np.array([points], np.float64).astype(np.int32)
    cv2.polylines(canvas, corners, True, value, 1)
    cv2.fillPoly(canvas, corners, value)
    return canvas


def _turns(text: str, is_sentence: bool, explanation: str | None) -> list[Turn]:
    """The kinds of `ODDS`, or only the first without an explanation."""
    words = " ".join(text.split())
    plain = segment_turn(words if is_sentence else tidy(text).lower(), [_TARGET], "image")
    if is_sentence:
        plain = dataclasses.replace(plain, question=templates.fill(templates.SEGMENT_BY_SENTENCE[0], words, "image"))
    if not explanation:
        return [plain]
    explained = dataclasses.replace(
        plain, question=f"{plain.question} Explain why.", answer=f"{plain.answer} {explanation.strip()}"
    )
    return [plain, explained, Turn(question=words, answer=explanation.strip())]
