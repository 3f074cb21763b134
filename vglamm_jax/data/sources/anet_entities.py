"""ActivityNet-Entities' validation segments (facts 6.17), which the original only describes: no masks to compare with.

    activitynet_entities/data/anet_entities_cleaned_class_thresh50_trainval.json
        {"annotations": {video: {"segments": {segment: {"timestamps": [start, end], "tokens": [word, ...]}}}}}
    activitynet_entities/data/split_ids_anet_entities.json           {"training": [video, ...], "validation": [...]}
    activitynet/videos/train/<video>.{mp4,mkv,webm}                  of both splits

The answer is the segment's sentence, without phrases.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vglamm_jax.data.schema import BadRecord, Example
from vglamm_jax.data.sources import frames_rules, turns
from vglamm_jax.data.sources.lists import read_list, read_map
from vglamm_jax.data.sources.pictures import guarded, known_split, share
from vglamm_jax.data.sources.registry import WHOLE, Part
from vglamm_jax.data.sources.videos import file_media, find_video

SOURCE = "anet_entities"
SPLITS = ("training", "validation")
FOLDER = "activitynet_entities/data"
VIDEOS = "activitynet/videos/train"
REFERENCE = f"{FOLDER}/anet_entities_cleaned_class_thresh50_trainval.json"
IDS = f"{FOLDER}/split_ids_anet_entities.json"
LAYOUT = f"{REFERENCE}, {IDS}, {VIDEOS}/<video>.{{mp4,mkv,webm}}"


def examples(root: Path, split: str = "validation", *, part: Part = WHOLE) -> Iterator[Example | BadRecord]:
    """Segments in the reference file's order.

    Raises:
        FileNotFoundError: one of the two JSON files is missing.
        ValueError: one is not JSON; no such split.
    """
    root, split = Path(root), known_split(split, SPLITS, SOURCE)
    videos = read_map(root / REFERENCE, LAYOUT, "annotations")
    wanted = set(read_list(root / IDS, LAYOUT, of=str, field=split))
    segments = [
        (video, number, segment)
        for video, content in videos.items()
        if video in wanted
        for number, segment in content["segments"].items()
    ]
    for video, number, segment in share(segments, part):
        yield from guarded(SOURCE, f"{video}/{number}", _segment(root, split, video, number, segment))


def _segment(root: Path, split: str, video: str, number: str, segment: dict[str, Any]) -> Iterator[Example]:
    start, end = map(float, segment["timestamps"])
    yield Example(
        id=f"{video}/{number}",
        source=SOURCE,
        split=split,
        media=file_media(root, find_video(root, VIDEOS, video), (start, end)),
        turns=(turns.describe(" ".join(segment["tokens"]), ()),),
        meta={"frames_rule": frames_rules.TEN},
    )
