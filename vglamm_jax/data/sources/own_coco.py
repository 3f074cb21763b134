"""COCO (images) and YouTube-VIS (videos) annotation files, with expressions and captions where there are some.

    {"images": [{"id", "file_name", "height", "width"}],                             COCO, or
     "videos": [{"id", "file_names": [...], "height", "width"}],                     YouTube-VIS
     "annotations": [{"id", "image_id", "category_id", "segmentation": polygons or RLE}],            COCO
     "annotations": [{"id", "video_id", "category_id", "segmentations": [one or null a frame]}],     YouTube-VIS
     "categories": [{"id", "name"}],
     "expressions": [{"image_id" or "video_id", "expression": "the left dog", "annotation_ids": [7]}],
     "captions": [{"image_id" or "video_id", "caption": "<p> A dog </p> [SEG:7] sleeps."}]}

The last two are ours: turns that segment an expression, or describe the whole with [SEG:annotation ids]. They may also
stand in files of their own, as {"annotations": [...]} like COCO's captions. An image or video without either gets one
turn for each of its categories: all of them in one mask. The turns of an example stand alone.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vglamm_jax.data.fields import Problem, is_number, short
from vglamm_jax.data.markup import MarkupError
from vglamm_jax.data.masks import MaskError, as_rle
from vglamm_jax.data.schema import BadRecord, Example, Media, Obj, Turn
from vglamm_jax.data.sources.own import SPLITS, DataError, Row, checked, describe_turn, records, segment_turn, tidy


def examples(
    root: Path,
    split: str = "train",
    *,
    images: Path | None = None,
    expressions: Path | None = None,
    captions: Path | None = None,
    source: str = "own",
) -> Iterator[Example | BadRecord]:
    """One example an image or video, in the file's order; `root` is the annotation file or the folder it is in.

    `images` is the folder the file names are relative to, found by itself in the usual places.

    Raises:
        DataError: no annotation file, not such a file, or none of its pictures anywhere near.
    """
    found = rows(root, split, images=images, expressions=expressions, captions=captions, source=source)
    return records(source, checked(found))


def rows(
    root: Path,
    split: str = "train",
    *,
    images: Path | None = None,
    expressions: Path | None = None,
    captions: Path | None = None,
    source: str = "own",
) -> Iterator[Row]:
    """A row an image or video that has annotations, expressions or captions, then those that belong to none."""
    file = find(root, split)
    if file is None:
        raise DataError(f"{root}: no annotation file {split}.json, annotations/{split}.json or instances_{split}*.json")
    content = load(file)
    for name, other in (("expressions", expressions), ("captions", captions)):
        content[name] = [*_listed(content, name, file), *_other(other)]
    yield from _File(file, content, Path(root), images, split, source).rows()


def find(root: Path, split: str = "train") -> Path | None:
    """The annotation file of a split, or None."""
    root = Path(root)
    if root.is_file():
        return root
    names = (f"{split}.json", f"instances_{split}*.json", *(["instances.json"] if split == "train" else []))
    for folder in (root, root / "annotations", root / split):
        for name in names:
            for path in sorted(folder.glob(name)):
                return path
    return None


def splits(path: Path) -> list[str]:
    """The splits that have an annotation file here; a file is one split, "train"."""
    if Path(path).is_file():
        return ["train"] if Path(path).suffix.lower() == ".json" else []
    return [split for split in SPLITS if find(path, split)]


def load(file: Path) -> dict[str, Any]:
    """Raises DataError when it is not JSON of COCO's or YouTube-VIS's shape."""
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{file}: not JSON ({error})") from error
    if not is_coco(content):
        raise DataError(f'{file}: expected COCO or YouTube-VIS: {{"images" or "videos", "annotations", ...}}')
    return content


def is_coco(content: Any) -> bool:
    """Whether JSON has the shape this module reads."""
    media = (content.get("images"), content.get("videos")) if isinstance(content, dict) else ()
    return any(isinstance(value, list) for value in media) and isinstance(content.get("annotations"), list)


def _other(file: Path | None) -> list:
    if file is None:
        return []
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{file}: not JSON ({error})") from error
    return content if isinstance(content, list) else _listed(content, "annotations", file)


def _listed(content: Any, name: str, file: Path) -> list:
    """A list of the file, empty when it is not there."""
    listed = content.get(name, []) if isinstance(content, dict) else None
    if not isinstance(listed, list):
        raise DataError(f'{file}: expected {{"{name}": [...]}}, got {short(content if listed is None else listed)}')
    return listed


def _key(value: Any) -> int | str | None:
    """An id, None for what cannot be one."""
    return value if isinstance(value, (int, str)) else None


class _File:
    def __init__(self, file: Path, content: dict, root: Path, images: Path | None, split: str, source: str):
        self.file, self.split, self.source = file, split, source
        self.kind = "video" if isinstance(content.get("videos"), list) else "image"
        self.media = content["videos" if self.kind == "video" else "images"]
        self.names = {
            _key(c.get("id")): str(c.get("name")) for c in _listed(content, "categories", file) if isinstance(c, dict)
        }
        self.lists = {name: content[name] for name in ("annotations", "expressions", "captions")}
        self.root = root if root.is_dir() else file.parent
        self.folder = Path(images) if images is not None else self._picture_folder()

    def _picture_folder(self) -> Path:
        """Where the first picture is."""
        first = next((name for entry in self.media if isinstance(entry, dict) for name in self._files(entry)), None)
        tops = (self.root, self.root / self.split, self.file.parent, self.file.parent.parent)
        folders = [top / name for top in tops for name in ("", "images", "JPEGImages", self.file.stem, self.split)]
        for folder in folders:
            if first is None or (folder / first).is_file():
                return folder
        raise DataError(f"{self.file}: its first picture {first} is in none of the usual places; say where (--images)")

    def _files(self, entry: dict) -> list[str]:
        names = entry.get("file_names") if self.kind == "video" else [entry.get("file_name")]
        return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []

    def rows(self) -> Iterator[Row]:
        groups = {name: defaultdict(list) for name in self.lists}
        known = {_key(entry.get("id")) for entry in self.media if isinstance(entry, dict)} - {None}
        lost = []
        for name, listed in self.lists.items():
            for i, entry in enumerate(listed):
                key = _key(entry.get(f"{self.kind}_id")) if isinstance(entry, dict) else None
                if key in known:
                    groups[name][key].append((f"{name}[{i}]", entry))
                else:
                    problem = Problem(f"{self.kind}_id", f"is {short(key)}", f"give the id of one of the {self.kind}s")
                    lost.append(Row(f"{self.file.name}: {name}[{i}]", str(key), None, (problem,)))
        for i, entry in enumerate(self.media):
            parts = (
                {name: group[_key(entry.get("id"))] for name, group in groups.items()}
                if isinstance(entry, dict)
                else {}
            )
            if any(parts.values()) or not isinstance(entry, dict):
                yield from self._rows(f"{self.file.name}: {self.kind}s[{i}]", entry, **parts)
        yield from lost

    def _rows(self, place: str, entry: Any, annotations=(), expressions=(), captions=()) -> Iterator[Row]:
        """The row of an image or video, after those of its annotations without a pixel."""
        if not isinstance(entry, dict):
            yield Row(place, "?", None, (Problem(self.kind, f"is {short(entry)}", "write {...}"),))
            return
        id, names = str(entry.get("id")), self._files(entry)
        sides = (entry.get("height"), entry.get("width"))
        if not names or not all(isinstance(side, int) and side > 0 for side in sides):
            fix = f"write height, width and {'file_names' if self.kind == 'video' else 'file_name'}"
            yield Row(place, id, None, (Problem(self.kind, "has no size or no file name", fix),))
            return
        problems: list[Problem] = []
        objects = []
        for where, one in annotations:
            thing = self._object(where, one, sides, len(names), problems)
            if any(thing.masks.values()):
                objects.append(thing)
            elif thing.masks:
                empty = Problem(where, "has no pixel in any frame", "remove it")
                yield Row(f"{self.file.name}: {where}", f"{id}/{thing.id}", None, (empty,))
        example = Example(
            id=id,
            source=self.source,
            split=self.split,
            media=self._media(entry, names, sides),
            objects=tuple(objects),
            turns=tuple(self._turns(objects, expressions, captions, problems)),
            independent=True,
        )
        if example.turns or problems:
            yield Row(place, id, example, tuple(problems))

    def _media(self, entry: dict, names: list[str], size) -> Media:
        fps = entry.get("fps")
        frames = tuple(self._path(name) for name in names)
        return Media(kind=self.kind, frames=frames, size=size, length=len(names), fps=fps if is_number(fps) else None)

    def _path(self, name: str) -> str:
        path = self.folder / name
        return (path.relative_to(self.root) if path.is_relative_to(self.root) else path.absolute()).as_posix()

    def _object(self, where: str, entry: dict, size, length: int, problems: list[Problem]) -> Obj:
        """An annotation; null and missing segmentations of a video say that the object is not visible."""
        listed = entry.get("segmentations") if self.kind == "video" else [entry.get("segmentation")]
        if not isinstance(listed, list) or len(listed) != length:
            count = len(listed) if isinstance(listed, list) else "no"
            problems.append(Problem(f"{where}.segmentations", f"{count} for {length} frames", "one or null a frame"))
            listed = []
        masks = {}
        for frame, value in enumerate(listed):
            try:
                masks[frame] = as_rle(value, size)
            except MaskError as error:
                place = f"{where}.segmentations[{frame}]" if self.kind == "video" else f"{where}.segmentation"
                problems.append(Problem(place, str(error), "encode it again with pycocotools, or write null"))
        return Obj(id=str(entry.get("id")), category=self.names.get(_key(entry.get("category_id"))), masks=masks)

    def _turns(self, objects: list[Obj], expressions, captions, problems: list[Problem]) -> Iterator[Turn]:
        for where, entry in captions:
            try:
                yield describe_turn(" ".join(str(entry.get("caption", "")).split()), self.kind)
            except MarkupError as error:
                problems.append(Problem(f"{where}.caption", str(error), "write <p> a dog </p> [SEG:annotation id]"))
        for where, entry in expressions:
            ids, text = entry.get("annotation_ids"), tidy(str(entry.get("expression", "")))
            if not text or not isinstance(ids, list):
                fix = 'write {"expression": text, "annotation_ids": [...]}; [] when it is not there'
                problems.append(Problem(where, "has no expression or no annotation_ids", fix))
                continue
            yield segment_turn(text, map(str, ids), self.kind)
        if not expressions and not captions:
            yield from self._category_turns(objects, problems)

    def _category_turns(self, objects: list[Obj], problems: list[Problem]) -> Iterator[Turn]:
        groups: dict[str, list[str]] = defaultdict(list)
        for thing in objects:
            if thing.category is None:
                problems.append(Problem("category_id", f"annotation {thing.id} has none that is known", "give it one"))
            else:
                groups[thing.category].append(thing.id)
        for name, ids in groups.items():
            yield segment_turn(name.lower(), ids, self.kind)
