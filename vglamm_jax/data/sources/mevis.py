"""MeViS (facts 6.7 and 6.17): expressions of motion, of one object or several.

    mevis/{train,valid_u,valid}/meta_expressions.json          obj_id and anno_id are lists
    mevis/{train,valid_u}/mask_dict.json                       {"<anno_id>": [RLE or null, one a frame]}
    mevis/{train,valid_u,valid}/JPEGImages/<video>/<frame>.jpg

The masks of an expression's objects are united; the original adds them up, to more than 1 where they overlap (facts
10.45). A video of one frame is a bad record where there are masks (the original passes over it). Masks of valid are
kept by the challenge: turns without an answer.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vglamm_jax.data.masks import as_rle, union
from vglamm_jax.data.schema import BadRecord, Example, Media
from vglamm_jax.data.sources import frames_rules
from vglamm_jax.data.sources.expressions import Masks, Per, expressions_of, records, things_of, without_turns
from vglamm_jax.data.sources.lists import read_map
from vglamm_jax.data.sources.pictures import guarded, known_split, share
from vglamm_jax.data.sources.registry import WHOLE, Part
from vglamm_jax.data.sources.videos import frames_media

SOURCE = "mevis"
SPLITS = {"train": True, "valid_u": True, "valid": False}  # whether its masks are published
LAYOUT = "mevis/<split>/{meta_expressions.json,mask_dict.json,JPEGImages/<video>/<frame>.jpg}"


def examples(
    root: Path, split: str = "train", *, per: Per = "video", part: Part = WHOLE
) -> Iterator[Example | BadRecord]:
    """In the order of meta_expressions.json; `per` as in `expressions`.

    Raises:
        FileNotFoundError: one of the two JSON files is missing.
        ValueError: it is not JSON; no such split.
    """
    root, annotated = Path(root), known_split(split, SPLITS, SOURCE)
    videos, mask_dict = load(root, split)
    for name, video in share(videos.items(), part):
        yield from guarded(SOURCE, name, _video(root, split, name, video, mask_dict if annotated else None, per))


def load(root: Path, split: str) -> tuple[dict[str, Any], dict[str, list]]:
    """The videos of a split and its masks by anno_id, none where they are not published."""
    videos = read_map(root / "mevis" / split / "meta_expressions.json", LAYOUT, "videos")
    masks = read_map(root / "mevis" / split / "mask_dict.json", LAYOUT) if SPLITS[split] else {}
    return videos, masks


def media_of(root: Path, split: str, name: str, video: Mapping[str, Any]) -> Media:
    """Raises FileNotFoundError, ValueError."""
    return frames_media(root, [f"mevis/{split}/JPEGImages/{name}/{frame}.jpg" for frame in sorted(video["frames"])])


def masks_of(video: Mapping[str, Any], mask_dict: Mapping[str, list], size: tuple[int, int]) -> Masks:
    """The masks of every object that some expression of the video refers to, by obj_id.

    Raises:
        ValueError: another number of masks than of frames, or something that is no mask.
        KeyError: no such anno_id.
    """
    annotations = defaultdict(dict)
    for expression in video["expressions"].values():
        for object, annotation in zip(expression["obj_id"], expression["anno_id"], strict=True):
            annotations[str(object)][str(annotation)] = mask_dict[str(annotation)]
    count, masks = len(video["frames"]), {}
    for object in sorted(annotations, key=int):
        for annotation, listed in annotations[object].items():
            if len(listed) != count:
                raise ValueError(f"anno_id {annotation} has {len(listed)} masks for {count} frames")
        columns = zip(*annotations[object].values())
        masks[object] = {frame: union(as_rle(one, size) for one in column) for frame, column in enumerate(columns)}
    return masks


def _video(root: Path, split: str, name: str, video: Mapping[str, Any], mask_dict, per: Per):
    if mask_dict is not None and len(video["frames"]) < 2:
        raise ValueError("has fewer than two frames")
    media = media_of(root, split, name, video)
    masks = {} if mask_dict is None else masks_of(video, mask_dict, media.size)
    rule = frames_rules.EVEN if split == "train" else frames_rules.ALL
    expressions = expressions_of(video, None if mask_dict is None else "obj_id")
    yield from records(without_turns(SOURCE, split, name, media, rule), expressions, things_of(masks, {}), per)
