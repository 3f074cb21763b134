"""Your own data, the general way: a folder of videos or pictures, and JSONL files with one example a line.

    data/
      train.jsonl          lines in the schema of data/schema.py
      validation.jsonl
      videos/dog.mp4       paths in the lines are relative to the folder of the JSONL

What a machine can find out need not be written: `schema`, `split` (the file's name, else train), and of `media` the
size, length and fps. A mask may also be {"png": "masks/dog/00000.png"}, there any pixel but 0 is inside; with
"value": 3 those of value 3.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vglamm_jax.data.fields import Problem
from vglamm_jax.data.masks import Rle, encode
from vglamm_jax.data.media import VideoError
from vglamm_jax.data.schema import SCHEMA, BadRecord, Example, SchemaError, from_dict
from vglamm_jax.data.sources.own import SPLITS, DataError, Row, checked, records
from vglamm_jax.data.video import FOLDER_FPS, open_video


def examples(root: Path, split: str = "train") -> Iterator[Example | BadRecord]:
    """The examples of one split, in the order of files by name and lines.

    Raises:
        DataError: no JSONL file at `root` (a folder or one file).
    """
    return records("own", checked(rows(root, split)))


def rows(path: Path, split: str | None = None) -> Iterator[Row]:
    """Every line of a JSONL file, or of those of a folder; only one split's when given."""
    for file in files(path):
        with file.open(encoding="utf-8-sig", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                row = _row(line, f"{file.name}:{number}", file)
                if split is None or row.example is None or row.example.split == split:
                    yield row


def splits(path: Path) -> list[None]:
    """[None], all splits at once, when there is a JSONL file here."""
    path = Path(path)
    there = path.suffix.lower() == ".jsonl" if path.is_file() else any(path.glob("*.jsonl"))
    return [None] if there else []


def files(path: Path) -> list[Path]:
    """The JSONL files of a folder by name, or the one given."""
    path = Path(path)
    if path.is_file():
        return [path]
    found = sorted(path.glob("*.jsonl"))
    if not found:
        raise DataError(f"{path}: no .jsonl file here; write one example a line, see docs/data_schema.md")
    return found


def _row(line: str, place: str, file: Path) -> Row:
    try:
        content = json.loads(line)
    except ValueError as error:
        return Row(place, "?", None, (Problem("line", f"is not JSON ({error})", "write one {...} a line"),))
    id = str(content.get("id", "?")) if isinstance(content, dict) else "?"
    problems: list[Problem] = []
    try:
        if isinstance(content, dict):
            content = _completed(content, file, problems)
        example = from_dict(content)
    except SchemaError as error:
        # Those found while completing say why a field is missing.
        known = {problem.field.split(".")[0] for problem in problems}
        return Row(place, id, None, (*problems, *(p for p in error.problems if p.field.split(".")[0] not in known)))
    return Row(place, id, example, tuple(problems))


def _completed(content: dict, file: Path, problems: list[Problem]) -> dict:
    """The line with what may be left out filled in."""
    default = file.stem if file.stem in SPLITS else "train"
    content = {"schema": SCHEMA, "split": default, **content}
    if isinstance(content.get("media"), dict):
        content["media"] = _completed_media(content["media"], file.parent, problems)
    if isinstance(content.get("objects"), list):
        content["objects"] = [_with_masks(o, i, file.parent, problems) for i, o in enumerate(content["objects"])]
    return content


def _completed_media(media: dict, folder: Path, problems: list[Problem]) -> dict:
    frames, path = media.get("frames"), media.get("path")
    if isinstance(frames, list) and frames and isinstance(frames[0], str):
        media = {"length": len(frames), "kind": "video", **media}
        place = folder / frames[0]
    elif isinstance(path, str) and path:
        place = folder / path
    else:
        return media
    if {"kind", "size", "length"} <= media.keys():
        return media
    try:
        video = open_video(place)
    except VideoError as error:
        problems.append(Problem("media", str(error), "its size and length are not known"))
        return media
    known: dict[str, Any] = {"kind": video.kind, "size": list(video.size), "length": len(video)}
    if not frames and video.kind == "video" and video.fps != FOLDER_FPS:
        known["fps"] = video.fps
    return {**known, **media}


def _with_masks(thing: Any, number: int, folder: Path, problems: list[Problem]) -> Any:
    masks = thing.get("masks") if isinstance(thing, dict) else None
    if not isinstance(masks, dict):
        return thing
    loaded = {}
    for frame, value in masks.items():
        loaded[frame] = value
        if isinstance(value, dict) and isinstance(value.get("png"), str):
            try:
                rle = png_mask(folder / value["png"], value.get("value"))
                loaded[frame] = rle and {"size": list(rle.size), "counts": rle.counts}
            except (OSError, SyntaxError, ValueError) as error:
                loaded[frame] = None
                where = f"objects[{number}].masks[{frame}]"
                problems.append(Problem(where, f"{value['png']}: {error}", "give a grey or palette PNG"))
    return {**thing, "masks": loaded}


def png_mask(path: Path, value: int | None = None) -> Rle | None:
    """One object of a mask PNG: the pixels of `value`, by default all but 0."""
    with Image.open(path) as image:
        if image.mode not in ("P", "L", "1"):
            raise ValueError(f"is an image of mode {image.mode}, not a grey or palette PNG")
        pixels = np.asarray(image)
    return encode(pixels != 0 if value is None else pixels == value)
