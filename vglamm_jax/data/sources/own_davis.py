"""Folders in the way of DAVIS, Refer-YouTube-VOS and MeViS: pictures, palette PNGs or run lengths, and expressions.

    root/                                  or root/<split>/ , with or without an `expressions` folder beside it
      meta_expressions.json                {"videos": {"dog": {"frames": ["00000", ...],
                                             "expressions": {"0": {"exp": "a dog", "obj_id": "1"}, ...}}}}
      JPEGImages/dog/00000.jpg             (or JPEGImages/480p/dog/00000.jpg)
      Annotations/dog/00000.png            palette or grey PNG, the value is the obj_id; or
      mask_dict.json                       {"<anno_id>": [RLE or null, one a frame]} and "anno_id" in expressions

Each video is one example; its expressions are turns that stand alone, named in meta["expressions"].
A frame without a PNG is not annotated. Grey PNGs of 0 and 255 hold one object, obj_id 1.
"""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from vglamm_jax.data.fields import TEXTS, Problem, short
from vglamm_jax.data.masks import MaskError, Rle, as_rle, encode
from vglamm_jax.data.schema import BadRecord, Example, Media, Obj
from vglamm_jax.data.sources.own import (
    SPLITS,
    DataError,
    Row,
    checked,
    first_existing,
    pictures,
    records,
    segment_turn,
    tidy,
)

META = "meta_expressions.json"


def examples(
    root: Path, split: str = "train", *, source: str = "own", fps: float | None = None
) -> Iterator[Example | BadRecord]:
    """One example a video, in the order of their names.

    Raises:
        DataError: no meta_expressions.json, or it is not such a file.
    """
    return records(source, checked(rows(root, split, source=source, fps=fps)))


def rows(root: Path, split: str = "train", *, source: str = "own", fps: float | None = None) -> Iterator[Row]:
    """A row for each video, and one for each expression that cannot be used."""
    meta = find(root, split)
    if meta is None:
        raise DataError(f"{root}: no {META} here, nor in {', '.join(_meta_places(split)[1:])}")
    folder = Folder.around(meta, Path(root) if Path(root).is_dir() else meta.parent, split)
    videos = _load(meta).get("videos")
    if not isinstance(videos, dict):
        raise DataError(f'{meta}: expected {{"videos": {{name: {{"frames", "expressions"}}}}}}')
    for name in sorted(videos):
        yield from _Video(folder, name, videos[name], split, source, fps).rows()


def find(root: Path, split: str = "train") -> Path | None:
    """Where meta_expressions.json is, or None."""
    root = Path(root)
    if root.is_file():
        return root if root.name == META else None
    return first_existing(root, (f"{place}{META}" for place in _meta_places(split)), Path.is_file)


def splits(path: Path) -> list[str]:
    """The splits that have a meta_expressions.json; the one at the top counts as "train"."""
    found = {}
    for split in SPLITS:
        if meta := find(path, split):
            found.setdefault(meta, split)
    return list(found.values())


def _meta_places(split: str) -> tuple[str, ...]:
    return ("", f"{split}/", f"meta_expressions/{split}/")


@dataclasses.dataclass(frozen=True)
class Folder:
    """Where pictures and masks are: run lengths by anno_id in `mask_dict`, or else palette PNGs in `annotations`."""

    root: Path
    meta: Path
    images: Path
    annotations: Path | None
    mask_dict: dict[str, list] | None

    @classmethod
    def around(cls, meta: Path, root: Path, split: str) -> "Folder":
        """Raises DataError when there are no pictures or no masks."""
        tops = [meta.parent, root, root / split]
        images = _first(tops, ("JPEGImages/480p", "JPEGImages"))
        annotations = _first(tops, ("Annotations/480p", "Annotations"))
        mask_dict = _first(tops, ("mask_dict.json",), Path.is_file)
        if images is None:
            raise DataError(f"{meta.parent}: no folder JPEGImages beside {META}")
        if annotations is None and mask_dict is None:
            raise DataError(f"{meta.parent}: neither a folder Annotations nor mask_dict.json beside {META}")
        return cls(root, meta, images, annotations, mask_dict and _load(mask_dict))


def _first(tops: list[Path], places: tuple[str, ...], holds=Path.is_dir) -> Path | None:
    return next((found for top in tops if (found := first_existing(top, places, holds))), None)


class _Video:
    def __init__(self, folder: Folder, name: str, content: dict, split: str, source: str, fps: float | None):
        self.folder, self.name, self.content = folder, name, content
        self.split, self.source, self.fps = split, source, fps
        self.place = f"{folder.meta.name}: videos.{name}"

    def rows(self) -> Iterator[Row]:
        try:
            files = self._files()
            with Image.open(files[0]) as picture:
                size = picture.size[::-1]
            wanted = self._expressions()
            objects = self._objects(sorted({id for _, _, ids in wanted for id in ids}, key=_numbers_first), size)
        except (DataError, MaskError, OSError) as error:
            yield Row(self.place, self.name, None, (Problem("video", str(error), "repair or remove it"),))
            return
        seen = {thing.id for thing in objects if any(thing.masks.values())}
        good = []
        for key, text, ids in wanted:
            if text and ids and set(ids) <= seen:
                good.append((key, text, ids))
            else:
                yield self._useless(key, text, sorted(set(ids) - seen))
        if not good:
            return
        used = {id for _, _, ids in good for id in ids}
        yield Row(self.place, self.name, self._example(files, size, [o for o in objects if o.id in used], good))

    def _example(self, files: list[Path], size, objects: list[Obj], expressions: list) -> Example:
        return Example(
            id=self.name,
            source=self.source,
            split=self.split,
            media=Media(
                kind="video",
                frames=tuple(file.relative_to(self.folder.root).as_posix() for file in files),
                size=size,
                length=len(files),
                fps=self.fps,
            ),
            objects=tuple(objects),
            turns=tuple(segment_turn(text, ids, "video") for _, text, ids in expressions),
            independent=True,
            meta={"expressions": [key for key, _, _ in expressions]},
        )

    def _files(self) -> list[Path]:
        frames = self.content.get("frames") if isinstance(self.content, dict) else None
        if not TEXTS.fits(frames) or not frames:
            raise DataError('no "frames": list the names of its pictures without suffix')
        here = self.folder.images / self.name
        if not here.is_dir():
            raise DataError(f"no folder {here}")
        there = pictures(here)
        missing = [name for name in frames if name not in there]
        if missing:
            raise DataError(f"{here} has no picture of frame {missing[0]} ({len(missing)} missing)")
        return [there[name] for name in frames]

    def _expressions(self) -> list[tuple[str, str, list[str]]]:
        """(key, expression, object ids) each."""
        expressions = self.content.get("expressions")
        if not isinstance(expressions, dict):
            raise DataError('no "expressions": {"0": {"exp": text, "obj_id": ...}}')
        by = "obj_id" if self.folder.mask_dict is None else "anno_id"
        out = []
        for key in sorted(expressions, key=_numbers_first):
            content = expressions[key] if isinstance(expressions[key], dict) else {}
            ids = content.get(by, [])
            ids = ids if isinstance(ids, list) else [ids]
            out.append((key, tidy(str(content.get("exp", ""))), [str(id) for id in ids]))
        return out

    def _objects(self, ids: list[str], size) -> list[Obj]:
        if self.folder.mask_dict is not None:
            return [Obj(id=id, masks=self._listed(id, size)) for id in ids]
        masks: dict[str, dict[int, Rle | None]] = {id: {} for id in ids}
        folder = self.folder.annotations / self.name
        annotated = pictures(folder) if folder.is_dir() else {}
        for number, name in enumerate(self.content["frames"]):
            if name in annotated:
                values = label_map(annotated[name], size)
                for id in ids:
                    masks[id][number] = encode(values == int(id)) if id.isdecimal() else None
        return [Obj(id=id, masks=masks[id]) for id in ids]

    def _listed(self, id: str, size) -> dict[int, Rle | None]:
        """An object of mask_dict.json; none when it is not in there."""
        listed = self.folder.mask_dict.get(id, [])
        if not isinstance(listed, list):
            raise DataError(f"mask_dict.json: {id} is {short(listed)}, not a list with a mask or null a frame")
        if listed and len(listed) != len(self.content["frames"]):
            raise DataError(f"mask_dict.json has {len(listed)} masks of {id}, but {len(self.content['frames'])} frames")
        return {number: as_rle(value, size) for number, value in enumerate(listed)}

    def _useless(self, key: str, text: str, unseen: list[str]) -> Row:
        if not text:
            problem = Problem("exp", "is empty", "write what is referred to")
        elif not unseen:
            problem = Problem("obj_id", "is missing", "name the objects it refers to")
        else:
            problem = Problem("obj_id", f"no mask of object {', '.join(unseen)} in any frame", "correct the id")
        return Row(f"{self.place}.expressions.{key}", f"{self.name}/{key}", None, (problem,))


def label_map(path: Path, size: tuple[int, int]) -> np.ndarray:
    """The object ids of an annotation PNG, uint8 [H, W].

    Raises:
        DataError: neither a palette nor a grey PNG, or of another size.
    """
    with Image.open(path) as image:
        if image.mode not in ("P", "L", "1"):
            raise DataError(f"{path}: an image of mode {image.mode}; masks are palette or grey PNGs")
        grey, values = image.mode != "P", np.asarray(image)
    if values.shape != tuple(size):
        raise DataError(f"{path}: {values.shape[1]}x{values.shape[0]}, but the frames are {size[1]}x{size[0]}")
    values = values.astype(np.uint8)
    return values // 255 if grey and set(np.unique(values)) <= {0, 255} else values


def _numbers_first(key: str) -> tuple:
    return (0, int(key), "") if key.isdecimal() else (1, 0, key)


def _load(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error})") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a JSON object, got {short(content)}")
    return content
