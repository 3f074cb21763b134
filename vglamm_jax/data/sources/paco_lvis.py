"""PACO-LVIS: objects and their parts in COCO pictures (facts 6.1).

The original draws up to 3 annotations of an image and asks for one mug where there may be five; here a question is for
all of a class (`instances=True` asks as the original does). Underscores of names are spaces. A part is "mug handle" or
"the handle of the mug", half of the time each. All classes are here, as independent turns, and the pipeline draws.
"""

from collections.abc import Iterator
from pathlib import Path

from vglamm_jax.data.schema import BadRecord, Example, Media
from vglamm_jax.data.sources import object_parts
from vglamm_jax.data.sources.pictures import known_split, picture, read_lists
from vglamm_jax.data.sources.registry import WHOLE, Part

LAYOUT = "vlpart/paco/annotations/paco_lvis_v1_{train,val}.json and coco/{train2017,val2017}/*.jpg"
SPLITS = ("train", "val")


def examples(
    root: Path, split: str = "train", *, instances: bool = False, part: Part = WHOLE
) -> Iterator[Example | BadRecord]:
    """An example a picture that has annotations, in the file's order.

    Raises:
        FileNotFoundError, ValueError: see `registry.examples`.
    """
    file = f"vlpart/paco/annotations/paco_lvis_v1_{known_split(split, SPLITS, 'paco_lvis')}.json"
    content = read_lists(root / file, LAYOUT, "images", "annotations", "categories")

    def media_of(entry: dict) -> Media:
        return picture(root, f"coco/{entry['file_name']}", entry=entry)

    return object_parts.records("paco_lvis", split, content, media_of, part, instances)
