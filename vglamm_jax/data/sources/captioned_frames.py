"""What VidSTG-GCG and HC-STVG-GCG share (facts 6.15): captions, frames, and a folder of masks for each object.

<folder>/<split>_captions/<video>.json                     {"caption": "... [a white rabbit](0) ..."}
<folder>/<split>/<video>/frames/<frame>.png
<folder>/<split>/<video>/masks/<object:03d>/<frame>.png
"""

from collections.abc import Iterator
from pathlib import Path

from vglamm_jax.data.markup import Phrase
from vglamm_jax.data.masks import encode
from vglamm_jax.data.prompts import Protocol
from vglamm_jax.data.schema import BadRecord, Example, Obj
from vglamm_jax.data.sources import frames_rules, turns
from vglamm_jax.data.sources.caption_forms import bracketed
from vglamm_jax.data.sources.pictures import guarded, read_json, share
from vglamm_jax.data.sources.registry import Part
from vglamm_jax.data.sources.videos import binary_mask, frames_media, names_in

LAYOUT = "{0}/<split>_captions/<video>.json, {0}/<split>/<video>/frames, {0}/<split>/<video>/masks/<object>"


def captioned(
    root: Path, source: str, folder: str, split: str, protocol: Protocol, part: Part
) -> Iterator[Example | BadRecord]:
    """Sorted by video. The original takes the order of the disk (facts 10.59).

    With protocol="reference" a phrase means only the first of its objects (facts 10.47).

    Raises:
        FileNotFoundError: the folder of captions is missing.
    """
    layout = LAYOUT.format(folder)
    captions = f"{folder}/{split}_captions"
    for file in share(names_in(root / captions, layout, ".json"), part):
        video = file.removesuffix(".json")
        caption = root / captions / file
        yield from guarded(source, video, _video(root, source, f"{folder}/{split}/{video}", split, caption, protocol))


def _video(root: Path, source: str, folder: str, split: str, file: Path, protocol: Protocol) -> Iterator[Example]:
    layout = LAYOUT.format(folder)
    caption, phrases = bracketed(read_json(file, layout)["caption"])
    if protocol == "reference":
        phrases = tuple(Phrase(phrase.start, phrase.end, phrase.objects[:1]) for phrase in phrases)
    frames = names_in(root / folder / "frames", layout, ".png")
    ids = dict.fromkeys(id for phrase in phrases for id in phrase.objects)
    yield Example(
        id=file.stem,
        source=source,
        split=split,
        media=frames_media(root, [f"{folder}/frames/{frame}" for frame in frames]),
        objects=tuple(_thing(root / folder / "masks", id, frames) for id in ids),
        turns=(turns.describe(caption, phrases),),
        meta={"frames_rule": frames_rules.EVEN if split == "train" else frames_rules.ALL},
    )


def _thing(folder: Path, id: str, frames: list[str]) -> Obj:
    masks = (binary_mask(folder / f"{int(id):03d}" / frame) for frame in frames)
    return Obj(id=id, masks={number: encode(mask) for number, mask in enumerate(masks)})
