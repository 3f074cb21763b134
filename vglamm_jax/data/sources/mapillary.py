"""Mapillary Vistas v2: every class in a street picture is a question (facts 6.1).

The original draws up to 3 classes of an image; all of them are here, as independent turns, and the pipeline draws.
The class "Unlabeled", which the original asks for like any other, is left out: nobody can know what it means.
"""

from collections.abc import Iterator
from pathlib import Path

from vglamm_jax.data.schema import BadRecord, Example
from vglamm_jax.data.sources import label_maps
from vglamm_jax.data.sources.own import DataError
from vglamm_jax.data.sources.pictures import known_split, read_json, required
from vglamm_jax.data.sources.registry import WHOLE, Part

LAYOUT = (
    "mapillary/config_v2.0.json, mapillary/{training,validation}/v2.0/labels/*.png and "
    "mapillary/{training,validation}/images/*.jpg"
)
SPLITS = {"train": "training", "val": "validation"}
_UNLABELED = "unlabeled"


def examples(root: Path, split: str = "train", *, part: Part = WHOLE) -> Iterator[Example | BadRecord]:
    """An example a label map, in order of their names.

    Raises:
        FileNotFoundError, ValueError: see `registry.examples`.
    """
    folder = f"mapillary/{known_split(split, SPLITS, 'mapillary')}"
    names = _names(root / "mapillary/config_v2.0.json")
    maps = sorted(required(root / folder / "v2.0/labels", LAYOUT).glob("*.png"))
    required(root / folder / "images", LAYOUT)
    pairs = ((f"{folder}/images/{path.stem}.jpg", f"{folder}/v2.0/labels/{path.name}") for path in maps)
    ignored = {label_maps.IGNORED, *(value for value, name in names.items() if name == _UNLABELED)}
    return label_maps.records("mapillary", split, root, names, pairs, part, ignored)


def _names(path: Path) -> dict[int, str]:
    """Raises DataError when the file is no list of labels."""
    try:
        return {i: label["readable"].lower() for i, label in enumerate(read_json(path, LAYOUT)["labels"])}
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f'{path}: expected {{"labels": [{{"readable": "Bird", ...}}, ...]}}; copy it again') from error
