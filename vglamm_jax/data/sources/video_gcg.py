"""BURST and YouTube-VIS 2019 with dense captions (facts 6.11): grounded conversations, evaluated on "test".

    video_gcg/instruction_data/{train,val,test}.json
        {"videos": [{"id", "file_names", "metadata": {"dataset"} or "dataset_split",
                     "dense_cap": {"caption", "token_pos": [word, ...], "mask_id": [annotation, ...]}}],
         "annotations": [{"id", "segmentations": [RLE or null, one a frame]}]}
    ytvis/vos/train/JPEGImages/<file>              videos of "yt19", whatever the split
    burst/frames/{train,val}/<file>                all others; val serves val and test

Each listed word is a phrase; masks of several ids are united. A caption whose words and ids do not pair up is a bad
record (the original stops at it, facts 10.44).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vglamm_jax.data.masks import as_rle
from vglamm_jax.data.schema import BadRecord, Example, Obj
from vglamm_jax.data.sources import frames_rules, turns
from vglamm_jax.data.sources.caption_forms import of_words
from vglamm_jax.data.sources.lists import list_in, read_map
from vglamm_jax.data.sources.pictures import guarded, known_split, share
from vglamm_jax.data.sources.registry import WHOLE, Part
from vglamm_jax.data.sources.videos import frames_media

SOURCE = "video_gcg"
SPLITS = ("train", "val", "test")
LAYOUT = "video_gcg/instruction_data/<split>.json, ytvis/vos/train/JPEGImages/<file>, burst/frames/{train,val}/<file>"


def examples(root: Path, split: str = "train", *, part: Part = WHOLE) -> Iterator[Example | BadRecord]:
    """In the file's order, which numbers the results of the original.

    Raises:
        FileNotFoundError: the captions are missing.
        ValueError: they are not JSON; no such split.
    """
    root, split = Path(root), known_split(split, SPLITS, SOURCE)
    file = root / f"video_gcg/instruction_data/{split}.json"
    content = read_map(file, LAYOUT)
    videos, listed = (list_in(content, dict, field, file) for field in ("videos", "annotations"))
    annotations = {str(annotation.get("id")): annotation for annotation in listed}
    for video in share(videos, part):
        yield from guarded(SOURCE, str(video.get("id")), _video(root, split, video, annotations))


def _video(root: Path, split: str, video: dict[str, Any], annotations: Mapping[str, dict]) -> Iterator[Example]:
    dense = video["dense_cap"]
    if not dense["caption"]:
        raise ValueError("has no caption")
    caption, phrases = of_words(dense["caption"], dense["token_pos"], dense["mask_id"])
    ids = dict.fromkeys(id for phrase in phrases for id in phrase.objects)
    folder = _folder(video, split)
    media = frames_media(root, [f"{folder}/{name}" for name in video["file_names"]])
    yield Example(
        id=str(video["id"]),
        source=SOURCE,
        split=split,
        media=media,
        objects=tuple(Obj(id=id, masks=_masks(annotations[id], media.length, media.size)) for id in ids),
        turns=(turns.describe(caption, phrases),),
        meta={"frames_rule": frames_rules.VISIBLE if split == "train" else frames_rules.ALL},
    )


def _folder(video: Mapping[str, Any], split: str) -> str:
    origin = video["metadata"]["dataset"] if "metadata" in video else video["dataset_split"]
    return (
        "ytvis/vos/train/JPEGImages" if origin == "yt19" else f"burst/frames/{'train' if split == 'train' else 'val'}"
    )


def _masks(annotation: Mapping[str, Any], length: int, size: tuple[int, int]):
    listed = annotation["segmentations"]
    if len(listed) != length:
        raise ValueError(f"annotation {annotation['id']} has {len(listed)} masks for {length} frames")
    return {frame: as_rle(one, size) for frame, one in enumerate(listed)}
