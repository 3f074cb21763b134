"""VidSTG as pictures and masks made before (facts 6.10): where and when is what a question or sentence is about.

    processed/vidstg/{train,test}/masks/<sample>/image_000000.jpg, ...              one a second
    processed/vidstg/{train,test}/masks/<sample>/mask_000003.png, ...               of frames time_s to time_e
    processed/vidstg/{train,test}/masks/<sample>/metadata.json                      time_s, time_e, caption, qtype
    processed/vidstg/{train,test}/ignore_idxs.txt       numbers in the sorted list of samples; may be absent

A mask belongs to the frame it is numbered after; the original counts its masks from time_s on, and slips when one of
them is missing. The program that made the masks is not published.
"""

from collections.abc import Iterator
from pathlib import Path

from vglamm_jax.data.masks import encode
from vglamm_jax.data.schema import BadRecord, Example, Obj
from vglamm_jax.data.sources import frames_rules, turns
from vglamm_jax.data.sources.lists import lines_of
from vglamm_jax.data.sources.pictures import guarded, known_split, read_json, share
from vglamm_jax.data.sources.registry import WHOLE, Part
from vglamm_jax.data.sources.videos import binary_mask, frames_media, names_in, span_of

SOURCE = "vidstg"
SPLITS = ("train", "test")
LAYOUT = "processed/vidstg/<split>/masks/<sample>/{image_000000.jpg,mask_000000.png,metadata.json}"
TARGET = "target"
FPS = 1.0
QTYPES = ("interrogative", "declarative")


def examples(root: Path, split: str = "train", *, part: Part = WHOLE) -> Iterator[Example | BadRecord]:
    """Samples sorted by name.

    Raises:
        FileNotFoundError: the folder of samples is missing.
        ValueError: no such split.
    """
    root, split = Path(root), known_split(split, SPLITS, SOURCE)
    folder = f"processed/vidstg/{split}"
    samples = names_in(root / folder / "masks", LAYOUT)
    listed = root / folder / "ignore_idxs.txt"
    ignored = set(map(int, lines_of(listed, LAYOUT))) if listed.exists() else set()
    kept = [sample for number, sample in enumerate(samples) if number not in ignored]
    for sample in share(kept, part):
        yield from guarded(SOURCE, sample, _sample(root, split, f"{folder}/masks/{sample}", sample))


def _sample(root: Path, split: str, folder: str, sample: str) -> Iterator[Example]:
    about = read_json(root / folder / "metadata.json", LAYOUT)
    first, last, qtype = about["time_s"], about["time_e"], about["qtype"]
    if not 0 <= first <= last:
        raise ValueError(f"its moment lasts from frame {first} to {last}")
    if qtype not in QTYPES:
        raise ValueError(f"qtype is {qtype!r}, not one of {', '.join(QTYPES)}")
    pictures = names_in(root / folder, LAYOUT, ".jpg")
    masks = {_number(name): name for name in names_in(root / folder, LAYOUT, ".png") if name.startswith("mask_")}
    outside = [number for number in masks if not first <= number <= last]
    if outside:
        raise ValueError(f"mask {outside[0]} lies outside of the moment, {first} to {last}")
    span = span_of(first, last + 1, FPS)
    yield Example(
        id=sample,
        source=SOURCE,
        split=split,
        media=frames_media(root, [f"{folder}/{name}" for name in pictures], fps=FPS),
        objects=(Obj(id=TARGET, masks={n: encode(binary_mask(root / folder / masks[n])) for n in sorted(masks)}),),
        turns=(turns.ground(turns.lower(about["caption"]), span, TARGET, qtype == "interrogative"),),
        meta={"frames_rule": frames_rules.MOMENT, "qtype": qtype},
    )


def _number(name: str) -> int:
    return int(Path(name).stem.rpartition("_")[2])
