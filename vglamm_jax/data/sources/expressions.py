"""What the referring sets with `meta_expressions.json` share: their videos, expressions and label pictures.

    {"videos": {"<video>": {"frames": ["00000", ...],
                            "expressions": {"0": {"exp": "a dog", "obj_id": "1"}, ...}}}}       facts 6.6, 6.7

The original has an item for each expression (and each fifth frame), so that it draws expressions evenly:
`per="expression"`. By default each video is one example, and its expressions are turns that stand alone. `part` counts
videos in either case.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from vglamm_jax.data.masks import Rle, encode
from vglamm_jax.data.schema import BadRecord, Example, Media, Obj
from vglamm_jax.data.sources import frames_rules, turns
from vglamm_jax.data.sources.lists import read_map
from vglamm_jax.data.sources.own_davis import label_map
from vglamm_jax.data.sources.pictures import guarded, share
from vglamm_jax.data.sources.registry import Part
from vglamm_jax.data.sources.videos import frames_media

Per = Literal["video", "expression"]
Masks = dict[str, dict[int, Rle | None]]  # object -> frame -> mask
VOID = 255


@dataclasses.dataclass(frozen=True)
class Expression:
    key: str
    text: str
    objects: tuple[str, ...]  # none where they are not published


@dataclasses.dataclass(frozen=True)
class LabelFolder:
    """A set whose masks are label pictures: `folder`/<split>/{JPEGImages,Annotations}/<video>/."""

    root: Path
    folder: str
    source: str
    split: str

    @property
    def layout(self) -> str:
        return (
            f"{self.folder}/meta_expressions/<split>/meta_expressions.json and "
            f"{self.folder}/<split>/{{JPEGImages,Annotations}}/<video>/<frame>.{{jpg,png}}"
        )

    def videos(self, split: str) -> dict[str, Any]:
        """Raises FileNotFoundError, ValueError."""
        path = self.root / self.folder / "meta_expressions" / split / "meta_expressions.json"
        return read_map(path, self.layout, "videos")

    def categories(self) -> dict[str, Any]:
        """video -> {"objects": {id: {"category": name}}}; nothing where there is no meta.json."""
        path = self.root / self.folder / self.split / "meta.json"
        return read_map(path, self.layout, "videos") if path.exists() else {}

    def media(self, name: str, frames: Sequence[str]) -> Media:
        return frames_media(self.root, [self.place("JPEGImages", name, f"{frame}.jpg") for frame in sorted(frames)])

    def masks(self, name: str, frames: Sequence[str], size: tuple[int, int], ids: Sequence[str]) -> Masks:
        """Masks of some objects in each of the frames; label 255 is void, it is no object.

        Raises:
            FileNotFoundError: a label picture is missing.
            ValueError: one is no label picture, or of another size.
        """
        masks: Masks = {id: {} for id in ids if int(id) != VOID}
        for number, frame in enumerate(sorted(frames)):
            path = self.root / self.place("Annotations", name, f"{frame}.png")
            if not path.is_file():
                raise FileNotFoundError(f"its mask {path} is missing")
            labels = label_map(path, size)
            for id, by_frame in masks.items():
                by_frame[number] = encode(labels == int(id))
        return masks

    def place(self, kind: str, video: str, file: str) -> str:
        return f"{self.folder}/{self.split}/{kind}/{video}/{file}"


def label_records(
    folder: LabelFolder, videos: Mapping[str, Any], annotated: bool, per: Per, part: Part
) -> Iterator[Example | BadRecord]:
    """The videos of a label folder in the file's order."""
    categories = folder.categories()
    for name, video in share(videos.items(), part):
        entry = categories.get(name, {})
        yield from guarded(folder.source, name, _label_video(folder, name, video, entry, annotated, per))


def _label_video(folder: LabelFolder, name: str, video: Mapping[str, Any], entry, annotated: bool, per: Per):
    media = folder.media(name, video["frames"])
    expressions = expressions_of(video, "obj_id" if annotated else None)
    ids = sorted({id for expression in expressions for id in expression.objects}, key=int)
    masks = folder.masks(name, video["frames"], media.size, ids) if annotated else {}
    rule = frames_rules.AROUND if folder.split == "train" else frames_rules.ALL
    things = things_of(masks, categories_of(entry))
    yield from records(without_turns(folder.source, folder.split, name, media, rule), expressions, things, per)


def without_turns(source: str, split: str, video: str, media: Media, rule: str) -> Example:
    """The example of a video, for `records` to complete."""
    return Example(id=video, source=source, split=split, media=media, turns=(), meta={"frames_rule": rule})


def expressions_of(video: Mapping[str, Any], ids: str | None) -> list[Expression]:
    """The expressions of a video in the file's order, which evaluation relies on; field `ids` names their objects."""
    found = []
    for key, content in video["expressions"].items():
        named = content[ids] if ids else ()
        named = named if isinstance(named, (list, tuple)) else [named]
        found.append(Expression(key, turns.lower(content["exp"]), tuple(dict.fromkeys(map(str, named)))))
    return found


def categories_of(entry: Mapping[str, Any]) -> dict[str, str]:
    """object -> category, from a video's entry in meta.json."""
    return {id: thing["category"] for id, thing in entry.get("objects", {}).items()}


def things_of(masks: Masks, categories: Mapping[str, str]) -> list[Obj]:
    return [Obj(id=id, category=categories.get(id), masks=by_frame) for id, by_frame in masks.items()]


def records(
    video: Example, expressions: Sequence[Expression], things: Sequence[Obj], per: Per
) -> Iterator[Example | BadRecord]:
    """An example of all expressions, or one for each with the id video/key.

    One whose object is never seen is a `BadRecord`; where the original meets it, it draws another item.
    """
    seen = {thing.id for thing in things if any(thing.masks.values())}
    good = []
    for expression in expressions:
        unseen = [id for id in expression.objects if id not in seen]
        if unseen:
            reason = f"object {', '.join(unseen)} of {expression.text!r} is nowhere to be seen"
            yield BadRecord(video.source, f"{video.id}/{expression.key}", reason)
        else:
            good.append(expression)
    if per == "expression":
        for expression in good:
            yield _complete(dataclasses.replace(video, id=f"{video.id}/{expression.key}"), [expression], things)
    elif good:
        yield _complete(video, good, things)


def _complete(video: Example, expressions: Sequence[Expression], things: Sequence[Obj]) -> Example:
    used = {one for expression in expressions for one in expression.objects}
    asked = [turns.segment(expression.text, expression.objects) for expression in expressions]
    return dataclasses.replace(
        video,
        objects=tuple(thing for thing in things if thing.id in used),
        turns=tuple(turn if e.objects else turns.unanswered(turn) for turn, e in zip(asked, expressions)),
        independent=True,
        meta={**video.meta, "expressions": [expression.key for expression in expressions]},
    )
