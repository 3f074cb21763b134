"""ActivityNet-Entities with refined captions (facts 6.12): ten frames of a segment, masks in one of them.

    activitynet_entities_gcg/anns/<video>____<segment>.json          refined_caption, seg_token_to_obj
    activitynet_entities_gcg/masks/<video>____<segment>/<object:02d>/mask.png
    activitynet_entities_gcg/video_frames/<video>/<segment>/<frame:02d>.jpg

"<p> a man </p> [SEG:0]" in the caption is a phrase; seg_token_to_obj["[SEG:0]"]["frame_id"] says which frame it is in.
The original finds objects from 10 on with one pattern and not with another, and takes the files in the order of the
disk (facts 10.42, 10.59); both are put right here.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vglamm_jax.data.markup import parse_marked
from vglamm_jax.data.masks import encode
from vglamm_jax.data.schema import BadRecord, Example, Obj
from vglamm_jax.data.sources import frames_rules, turns
from vglamm_jax.data.sources.pictures import guarded, known_split, read_json, share
from vglamm_jax.data.sources.registry import WHOLE, Part
from vglamm_jax.data.sources.videos import binary_mask, frames_media, names_in

SOURCE = "anet_gcg"
FOLDER = "activitynet_entities_gcg"
SPLITS = ("train",)
LAYOUT = (
    f"{FOLDER}/anns/<video>____<segment>.json, {FOLDER}/masks/<video>____<segment>/<object>/mask.png, "
    f"{FOLDER}/video_frames/<video>/<segment>/<frame>.jpg"
)


def examples(root: Path, split: str = "train", *, part: Part = WHOLE) -> Iterator[Example | BadRecord]:
    """Sorted by name.

    Raises:
        FileNotFoundError: the folder of annotations is missing.
        ValueError: no such split.
    """
    root, split = Path(root), known_split(split, SPLITS, SOURCE)
    for file in share(names_in(root / FOLDER / "anns", LAYOUT, ".json"), part):
        name = file.removesuffix(".json")
        yield from guarded(SOURCE, name, _segment(root, split, name))


def _segment(root: Path, split: str, name: str) -> Iterator[Example]:
    video, segment = name.rsplit("____", 1)
    content = read_json(root / FOLDER / f"anns/{name}.json", LAYOUT)
    folder = f"{FOLDER}/video_frames/{video}/{segment}"
    frames = names_in(root / folder, LAYOUT, ".jpg")
    caption, phrases = parse_marked(content["refined_caption"])
    ids = dict.fromkeys(id for phrase in phrases for id in phrase.objects)
    places = {id: frame_number(content["seg_token_to_obj"], id, frames) for id in ids}
    masks = {id: binary_mask(root / FOLDER / f"masks/{name}/{int(id):02d}/mask.png") for id in ids}
    yield Example(
        id=name,
        source=SOURCE,
        split=split,
        media=frames_media(root, [f"{folder}/{frame}" for frame in frames]),
        objects=tuple(Obj(id=id, masks={places[id]: encode(masks[id])}) for id in ids),
        turns=(turns.describe(caption, phrases),),
        meta={"frames_rule": frames_rules.ANNOTATED},
    )


def frame_number(tokens: Mapping[str, Any], id: str, frames: Sequence[str], first: int = 0) -> int:
    """Where in `frames` the picture of [SEG:id] is; frame_id 0 is the picture named `first`, with two digits.

    Raises:
        KeyError: the object is not described.
        ValueError: there is no such picture.
    """
    picture = f"{tokens[f'[SEG:{id}]']['frame_id'] + first:02d}.jpg"
    if picture not in frames:
        raise ValueError(f"[SEG:{id}] is masked in {picture}, which is none of its {len(frames)} frames")
    return list(frames).index(picture)
