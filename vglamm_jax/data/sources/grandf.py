"""GranD-f's captions with a mask for each phrase, by people (GranDf) and from OpenPSG (facts 6.5).

Each phrase of a caption is one [SEG]; phrases with the same characters share it, as their masks' union.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from vglamm_jax.data.masks import as_rle, union
from vglamm_jax.data.schema import BadRecord, Example, Obj
from vglamm_jax.data.sources.captions import FOLDER, example, stem, tidy_caption
from vglamm_jax.data.sources.own import DataError
from vglamm_jax.data.sources.pictures import guarded, known_split, picture, read_list, share
from vglamm_jax.data.sources.registry import WHOLE, Part

SPLITS = ("train", "val")


class _Set(NamedTuple):
    name: str
    file: str
    images: tuple[str, ...]  # folders under grandf_dataset that are tried


SETS = {
    "grandf": _Set("grandf", "GranDf_HA_GCG_{split}.json", ("GranDf_HA_images/{split}",)),
    "openpsg": _Set(
        "openpsg_gcg", "OpenPsgGCG_{split}.json", ("coco_2017", "coco_2017/train2017", "coco_2017/val2017")
    ),
}
LAYOUT = (
    f"{FOLDER}/{{split}}/{{GranDf_HA_GCG,OpenPsgGCG}}_{{split}}.json, grandf_dataset/GranDf_HA_images/{{split}} and "
    "grandf_dataset/coco_2017"
)


def examples(
    root: Path, split: str = "train", *, dataset: str = "grandf", part: Part = WHOLE
) -> Iterator[Example | BadRecord]:
    """An example a captioned picture, in the file's order.

    Raises:
        FileNotFoundError, ValueError: see `registry.examples`.
    """
    if dataset not in SETS:
        raise ValueError(f"no set of captions {dataset!r}: choose one of {', '.join(SETS)}")
    chosen = SETS[dataset]
    file = f"{FOLDER}/{known_split(split, SPLITS, chosen.name)}/{chosen.file.format(split=split)}"
    folders = [f"grandf_dataset/{folder.format(split=split)}" for folder in chosen.images]
    for place, entry in share(enumerate(read_list(root / file, LAYOUT)), part):
        id = f"{stem(entry.get('file_name', '?'))}-{place:06d}"
        yield from guarded(chosen.name, id, _example(chosen.name, split, id, root, folders, entry))


def _example(source: str, split: str, id: str, root: Path, folders: list[str], entry: dict) -> Iterator[Example]:
    media = picture(root, *(f"{folder}/{entry['file_name']}" for folder in folders))
    objects, spans = [], {}
    for i, (words, grounding) in enumerate(entry["groundings"].items()):
        mask = union(as_rle(rle, media.size) for rle in grounding["rle_masks"])
        if mask is None:
            raise DataError(f"the mask of {words!r} has no pixel")
        objects.append(Obj(id=str(i), category=words, masks={0: mask}))
        start, end = grounding["token_positives"]
        spans.setdefault((start, end), []).append(str(i))
    yield example(source, split, id, media, tidy_caption(entry["caption"]), spans, objects)
