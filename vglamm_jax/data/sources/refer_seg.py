"""RefCLEF, RefCOCO, RefCOCO+, RefCOCOg and gRefCOCO: sentences that single out things in a picture (facts 6.2).

The original draws up to 3 sentences of an image; all of them are here, as independent turns, and the pipeline draws.
An expression of gRefCOCO may mean several things (one mask of them all) or nothing (an empty mask).
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vglamm_jax.data.masks import Rle, as_rle, union
from vglamm_jax.data.schema import BadRecord, Example, Media, Obj, Turn
from vglamm_jax.data.sources.own import DataError, segment_turn, tidy
from vglamm_jax.data.sources.pictures import guarded, known_split, picture, read_list, read_lists, required, share
from vglamm_jax.data.sources.plain_pickle import load
from vglamm_jax.data.sources.registry import WHOLE, Part

LAYOUT = (
    "refer_seg/{refclef,refcoco,refcoco+,refcocog,grefcoco}/{refs(<split_by>).p or .json (grefs for grefcoco), "
    "instances.json} and refer_seg/images/{mscoco/images/train2014,saiapr_tc-12}/*.jpg"
)
SPLITS = ("train", "val", "test", "testA", "testB", "testC")
SPLIT_BY = {"refclef": "unc", "refcoco": "unc", "refcoco+": "unc", "refcocog": "umd", "grefcoco": "unc"}
NOTHING = -1  # gRefCOCO's annotation id of what is not there


def examples(
    root: Path, split: str = "train", *, dataset: str = "refcoco", split_by: str | None = None, part: Part = WHOLE
) -> Iterator[Example | BadRecord]:
    """An example a picture with all sentences about it, in order of image ids.

    split: "test" is every test split; "testA" also takes what is in several, e.g. RefCLEF's "testAB".
    split_by: whose division into splits, "unc" but "umd" for RefCOCOg.

    Raises:
        FileNotFoundError, ValueError: see `registry.examples`; `DataError` for a pickle that is not plain data.
    """
    if dataset not in SPLIT_BY:
        raise ValueError(f"no set of references {dataset!r}: choose one of {', '.join(SPLIT_BY)}")
    known_split(split, SPLITS, dataset)
    folder = root / "refer_seg" / dataset
    by_image: dict[int, list[dict]] = defaultdict(list)
    for ref in _refs(folder, dataset, split_by or SPLIT_BY[dataset]):
        if _in_split(ref["split"], split):
            by_image[ref["image_id"]].append(ref)
    content = read_lists(folder / "instances.json", LAYOUT, "images", "annotations", "categories")
    images = {entry["id"]: entry for entry in content["images"]}
    annotations = {entry["id"]: entry for entry in content["annotations"] if entry["image_id"] in by_image}
    categories = {entry["id"]: entry["name"] for entry in content["categories"]}
    for id in share(sorted(by_image), part):
        found = _example(dataset, split, root, id, by_image[id], images, annotations, categories)
        yield from guarded(dataset, str(id), found)


def _refs(folder: Path, dataset: str, split_by: str) -> list[dict]:
    name = f"{'grefs' if dataset == 'grefcoco' else 'refs'}({split_by})"
    if (folder / f"{name}.json").exists():
        return read_list(folder / f"{name}.json", LAYOUT)
    refs = load(required(folder / f"{name}.p", LAYOUT))
    whole = isinstance(refs, list) and all(isinstance(ref, dict) and {"image_id", "split"} <= set(ref) for ref in refs)
    if not whole:
        raise DataError(f"{folder / name}.p: expected a list of references with image_id and split; download it again")
    return refs


def _in_split(own: str, wanted: str) -> bool:
    if wanted in ("testA", "testB", "testC"):
        return own.startswith("test") and wanted[-1] in own[len("test") :]
    return own.startswith("test") if wanted == "test" else own == wanted


def _example(dataset, split, root: Path, id: int, refs, images, annotations, categories):
    folder = "saiapr_tc-12" if dataset == "refclef" else "mscoco/images/train2014"
    media = picture(root, f"refer_seg/images/{folder}/{images[id]['file_name']}", entry=images[id])
    objects: dict[int, Obj] = {}
    turns: dict[tuple, Turn] = {}
    for ref in refs:
        ids = ref["ann_id"] if isinstance(ref["ann_id"], list) else [ref["ann_id"]]
        ids = [one for one in ids if one != NOTHING]
        try:
            objects.update({one: _object(annotations[one], media, categories) for one in ids if one not in objects})
        except (DataError, KeyError, ValueError) as error:
            reason = f"no annotation {error}" if isinstance(error, KeyError) else str(error)
            yield BadRecord(dataset, f"{id}/{ref['ref_id']}", reason)
            continue
        for sentence in ref["sentences"]:
            turn = segment_turn(tidy(sentence["sent"]).lower(), map(str, ids), "image")
            turns.setdefault((turn.expression, turn.phrases), turn)
    used = {name for turn in turns.values() for phrase in turn.phrases for name in phrase.objects}
    things = tuple(thing for thing in objects.values() if thing.id in used)
    if turns:
        known = {"id": str(id), "source": dataset, "split": split, "media": media}
        yield Example(**known, objects=things, turns=tuple(turns.values()), independent=True)


def _object(annotation: dict, media: Media, categories: dict[int, str]) -> Obj:
    """Raises DataError when there is no pixel in it, MaskError when its mask is none."""
    rle = _mask(annotation["segmentation"], media.size)
    if rle is None:
        raise DataError(f"annotation {annotation['id']} has no pixel")
    return Obj(id=str(annotation["id"]), category=categories.get(annotation["category_id"]), masks={0: rle})


def _mask(segmentation: Any, size: tuple[int, int]) -> Rle | None:
    """RefCLEF has a list of run lengths where the others have polygons."""
    if isinstance(segmentation, list) and all(isinstance(piece, dict) for piece in segmentation):
        return union(as_rle(piece, size) for piece in segmentation)
    return as_rle(segmentation, size)
