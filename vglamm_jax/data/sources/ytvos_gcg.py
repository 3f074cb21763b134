"""Dense captions for Refer-YouTube-VOS (facts 6.13).

    ytvos_gcg/train/<video>.json                        {"caption": "... [a man](1) and [two dogs](2, 3) ..."}
    refer_youtube_vos/...                               frames and label pictures, as in `refer_youtube_vos`

Put right: the original looks in ./video_dataset whatever folder it is given, takes the files in the order of the disk,
leaves its random frames unsorted (facts 10.41, 10.59), and adds masks up where this unites them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vglamm_jax.data.schema import BadRecord, Example
from vglamm_jax.data.sources import frames_rules, turns
from vglamm_jax.data.sources.caption_forms import bracketed
from vglamm_jax.data.sources.expressions import LabelFolder, categories_of, things_of
from vglamm_jax.data.sources.pictures import guarded, known_split, read_json, share
from vglamm_jax.data.sources.registry import WHOLE, Part
from vglamm_jax.data.sources.videos import names_in

SOURCE = "ytvos_gcg"
SPLITS = ("train",)
LAYOUT = "ytvos_gcg/<split>/<video>.json and refer_youtube_vos"


def examples(root: Path, split: str = "train", *, part: Part = WHOLE) -> Iterator[Example | BadRecord]:
    """Sorted by video.

    Raises:
        FileNotFoundError: the captions or meta_expressions.json are missing.
        ValueError: no such split.
    """
    folder = LabelFolder(Path(root), "refer_youtube_vos", SOURCE, known_split(split, SPLITS, SOURCE))
    captions = folder.root / "ytvos_gcg" / split
    files = names_in(captions, LAYOUT, ".json")
    videos, categories = folder.videos(split), folder.categories()
    for file in share(files, part):
        name = file.removesuffix(".json")
        entry = categories.get(name, {})
        yield from guarded(SOURCE, name, _video(folder, captions / file, name, videos, entry))


def _video(folder: LabelFolder, file: Path, name: str, videos: dict[str, Any], entry: dict) -> Iterator[Example]:
    caption, phrases = bracketed(read_json(file, LAYOUT)["caption"])
    ids = dict.fromkeys(id for phrase in phrases for id in phrase.objects)
    frames = videos[name]["frames"]
    media = folder.media(name, frames)
    masks = folder.masks(name, frames, media.size, list(ids))
    yield Example(
        id=name,
        source=SOURCE,
        split=folder.split,
        media=media,
        objects=tuple(things_of(masks, categories_of(entry))),
        turns=(turns.describe(caption, phrases),),
        meta={"frames_rule": frames_rules.RANDOM},
    )
