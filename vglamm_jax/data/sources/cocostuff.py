"""COCO-Stuff: every class of things and stuff in a picture is a question (facts 6.1).

As in the original, classes whose name has a "-" ("wall-other", "floor-wood") are left out, and label 255 is nobody's.
The original draws up to 3 classes of an image; all of them are here, as independent turns, and the pipeline draws.
"""

from collections.abc import Iterator
from pathlib import Path

from vglamm_jax.data.schema import BadRecord, Example
from vglamm_jax.data.sources import label_maps
from vglamm_jax.data.sources.class_names import COCO_STUFF
from vglamm_jax.data.sources.own import DataError
from vglamm_jax.data.sources.pictures import known_split, required
from vglamm_jax.data.sources.registry import WHOLE, Part

LAYOUT = (
    "cocostuff/{train2017,val2017}/*.png (stuffthingmaps) and coco/{train2017,val2017}/*.jpg "
    "(cocostuff/labels.txt is read when it is there)"
)
SPLITS = {"train": "train2017", "val": "val2017"}


def examples(root: Path, split: str = "train", *, part: Part = WHOLE) -> Iterator[Example | BadRecord]:
    """An example a label map, in order of their names.

    Raises:
        FileNotFoundError, ValueError: see `registry.examples`.
    """
    folder = known_split(split, SPLITS, "cocostuff")
    maps = sorted(required(root / "cocostuff" / folder, LAYOUT).glob("*.png"))
    required(root / "coco" / folder, LAYOUT)
    pairs = ((f"coco/{folder}/{path.stem}.jpg", f"cocostuff/{folder}/{path.name}") for path in maps)
    names = dict(enumerate(_names(root / "cocostuff/labels.txt")))
    ignored = {label_maps.IGNORED, *(value for value, name in names.items() if "-" in name)}
    return label_maps.records("cocostuff", split, root, names, pairs, part, ignored)


def _names(path: Path) -> tuple[str, ...]:
    """Names by label value: line n + 1 of the official list ("1: person") is value n; line 0 is "unlabeled"."""
    if not path.exists():
        return COCO_STUFF
    rows = [row for row in path.read_text(encoding="utf-8").splitlines() if row.strip()]
    if len(rows) != len(COCO_STUFF) + 1:
        raise DataError(f"{path}: {len(rows)} lines, expected {len(COCO_STUFF) + 1}; copy it again or remove it")
    names = (row.split(": ")[-1].strip() for row in rows[1:])
    return tuple("sky" if name == "sky-other" else name for name in names)  # as in the original's list
