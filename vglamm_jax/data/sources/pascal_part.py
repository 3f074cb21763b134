"""PASCAL-Part: parts of the objects in PASCAL VOC 2010 pictures (facts 6.1).

The original draws up to 3 annotations of an image and asks for one wheel where there may be four; here a question is
for all of a class (`instances=True` asks as the original does). A part is "car wheel" or "the wheel of the car", half
of the time each. All classes are here, as independent turns, and the pipeline draws.
"""

from collections.abc import Iterator
from pathlib import Path

from vglamm_jax.data.schema import BadRecord, Example, Media
from vglamm_jax.data.sources import object_parts
from vglamm_jax.data.sources.pictures import known_split, picture, read_lists
from vglamm_jax.data.sources.registry import WHOLE, Part

IMAGES = "vlpart/pascal_part/VOCdevkit/VOC2010/JPEGImages"
LAYOUT = f"vlpart/pascal_part/{{train,val}}.json and {IMAGES}/*.jpg"
SPLITS = ("train", "val")


def examples(
    root: Path, split: str = "train", *, instances: bool = False, part: Part = WHOLE
) -> Iterator[Example | BadRecord]:
    """An example a picture that has annotations, in the file's order.

    Raises:
        FileNotFoundError, ValueError: see `registry.examples`.
    """
    file = f"vlpart/pascal_part/{known_split(split, SPLITS, 'pascal_part')}.json"
    content = read_lists(root / file, LAYOUT, "images", "annotations", "categories")

    def media_of(entry: dict) -> Media:
        return picture(root, f"{IMAGES}/{entry['file_name']}", entry=entry)

    return object_parts.records("pascal_part", split, content, media_of, part, instances)
