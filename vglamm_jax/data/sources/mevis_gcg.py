"""Dense captions for MeViS (facts 6.14); "valid_u" is part of the GCG evaluation.

    mevis_gcg/{train,valid_u}/<video>.json              {"caption": "... [a man](0) and [two dogs](1, 2) ..."}
    mevis/{train,valid_u}/...                           as in `mevis`

Each object's mask comes from any expression that refers to it. The original needs an expression of exactly the phrase's
objects, and stops where there is none (facts 10.46): with protocol="reference" such a video is a bad record. Its order
of files, that of the disk (facts 10.59), is sorted here.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vglamm_jax.data.markup import Phrase
from vglamm_jax.data.prompts import Protocol
from vglamm_jax.data.schema import BadRecord, Example
from vglamm_jax.data.sources import frames_rules, turns
from vglamm_jax.data.sources.caption_forms import bracketed
from vglamm_jax.data.sources.expressions import things_of
from vglamm_jax.data.sources.mevis import load, masks_of, media_of
from vglamm_jax.data.sources.pictures import guarded, known_split, read_json, share
from vglamm_jax.data.sources.registry import WHOLE, Part
from vglamm_jax.data.sources.videos import names_in

SOURCE = "mevis_gcg"
SPLITS = ("train", "valid_u")
LAYOUT = "mevis_gcg/<split>/<video>.json and mevis/<split>"


def examples(
    root: Path, split: str = "train", *, protocol: Protocol = "default", part: Part = WHOLE
) -> Iterator[Example | BadRecord]:
    """Sorted by video.

    Raises:
        FileNotFoundError: the captions, or a JSON file of `mevis`, are missing.
        ValueError: no such split.
    """
    root, split = Path(root), known_split(split, SPLITS, SOURCE)
    captions = root / "mevis_gcg" / split
    files = names_in(captions, LAYOUT, ".json")
    videos, mask_dict = load(root, split)
    for file in share(files, part):
        name = file.removesuffix(".json")
        yield from guarded(SOURCE, name, _video(root, split, captions / file, videos, mask_dict, protocol))


def _video(root: Path, split: str, file: Path, videos: dict[str, Any], mask_dict, protocol: Protocol):
    caption, phrases = bracketed(read_json(file, LAYOUT)["caption"])
    video = videos[file.stem]
    if protocol == "reference":
        _need_expressions(video, phrases)
    media = media_of(root, split, file.stem, video)
    masks = masks_of(video, mask_dict, media.size)
    named = dict.fromkeys(id for phrase in phrases for id in phrase.objects)
    yield Example(
        id=file.stem,
        source=SOURCE,
        split=split,
        media=media,
        objects=tuple(things_of({id: masks[id] for id in named}, {})),
        turns=(turns.describe(caption, phrases),),
        meta={"frames_rule": frames_rules.EVEN if split == "train" else frames_rules.ALL},
    )


def _need_expressions(video: dict[str, Any], phrases: tuple[Phrase, ...]) -> None:
    known = {tuple(map(str, expression["obj_id"])) for expression in video["expressions"].values()}
    for phrase in phrases:
        if phrase.objects not in known:
            raise ValueError(f"no expression of exactly the objects {', '.join(phrase.objects)}")
