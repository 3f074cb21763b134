"""GranD-f's captions of Flickr30k with a mask for each phrase (facts 6.5).

As in the original, captions of fewer than three words, pictures below 32 pixels and boxes without extent are passed
over. Phrases with the same characters share one [SEG], the union of their masks: the original wraps the words once a
mask, at positions that the first wrapping has moved.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from vglamm_jax.data.masks import as_rle
from vglamm_jax.data.schema import BadRecord, Example, Obj
from vglamm_jax.data.sources.captions import FOLDER, Spans, example, stem
from vglamm_jax.data.sources.own import DataError
from vglamm_jax.data.sources.pictures import guarded, known_split, picture, read_lists, share
from vglamm_jax.data.sources.registry import WHOLE, Part

SOURCE = "flickr_gcg"
IMAGES = ("flikcr_30k", "flickr_30k")  # the first is how the original spells it
LAYOUT = f"{FOLDER}/{{split}}/flickr_mergedGT_GCG_{{split}}.json and grandf_dataset/{IMAGES[0]}/{{split}}/*.jpg"
SPLITS = ("train", "val")
MIN_WORDS, MIN_SIDE = 3, 32


def examples(root: Path, split: str = "train", *, part: Part = WHOLE) -> Iterator[Example | BadRecord]:
    """An example a captioned picture, in the file's order.

    Raises:
        FileNotFoundError, ValueError: see `registry.examples`.
    """
    known_split(split, SPLITS, SOURCE)
    file = root / FOLDER / split / f"flickr_mergedGT_GCG_{split}.json"
    content = read_lists(file, LAYOUT, "images", "annotations")
    by_image: dict[int, list[dict]] = defaultdict(list)
    for annotation in content["annotations"]:
        by_image[annotation["image_id"]].append(annotation)
    for entry in share(filter(_is_wanted, content["images"]), part):
        id = f"{stem(entry['file_name'])}-{entry['id']}"
        yield from guarded(SOURCE, id, _example(root, split, id, entry, by_image[entry["id"]]))


def _is_wanted(entry: dict) -> bool:
    long_enough = len(entry["caption"].split(" ")) >= MIN_WORDS
    return long_enough and min(int(entry["width"]), int(entry["height"])) >= MIN_SIDE


def _example(root: Path, split: str, id: str, entry: dict, annotations: list[dict]) -> Iterator[Example]:
    media = picture(root, *(f"grandf_dataset/{folder}/{split}/{entry['file_name']}" for folder in IMAGES), entry=entry)
    objects: list[Obj] = []
    spans: Spans = {}
    for annotation in annotations:
        if annotation.get("ignore") or not _has_extent(annotation, media.size):
            continue
        name, (start, end) = str(annotation["id"]), annotation["tokens_positive"][0]
        mask = as_rle(annotation["sam_mask"], media.size)
        if mask is None:
            raise DataError(f"the mask of annotation {name} has no pixel")
        objects.append(Obj(id=name, category=entry["caption"][start:end], masks={0: mask}))
        spans.setdefault((start, end), []).append(name)
    yield example(SOURCE, split, id, media, entry["caption"], spans, objects)


def _has_extent(annotation: dict, size: tuple[int, int]) -> bool:
    """Whether its box is at least a pixel wide and high, and some of it is inside the picture."""
    x, y, width, height = annotation["bbox"]
    inside = min(x + width, size[1]) > max(x, 0) and min(y + height, size[0]) > max(y, 0)
    return inside and annotation["area"] > 0 and width >= 1 and height >= 1
