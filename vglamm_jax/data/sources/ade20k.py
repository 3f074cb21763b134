"""ADE20K scene parsing (SceneParsing challenge form): every one of 150 classes in a picture is a question (facts 6.1).

The original draws up to 3 classes of an image; all of them are here, as independent turns, and the pipeline draws.
Label 0 ("everything else") and 255 are nobody's.
"""

from collections.abc import Iterator
from pathlib import Path

from vglamm_jax.data.schema import BadRecord, Example
from vglamm_jax.data.sources import label_maps
from vglamm_jax.data.sources.class_names import ADE20K
from vglamm_jax.data.sources.own import DataError
from vglamm_jax.data.sources.pictures import known_split, required
from vglamm_jax.data.sources.registry import WHOLE, Part

LAYOUT = (
    "ade20k/images/{training,validation}/*.jpg and ade20k/annotations/{training,validation}/*.png (the pictures of "
    "ADEChallengeData2016; its objectInfo150.txt beside them is read when it is there)"
)
SPLITS = {"train": "training", "val": "validation"}


def examples(root: Path, split: str = "train", *, part: Part = WHOLE) -> Iterator[Example | BadRecord]:
    """An example a picture, in order of their names.

    Raises:
        FileNotFoundError, ValueError: see `registry.examples`.
    """
    folder = known_split(split, SPLITS, "ade20k")
    images = sorted(required(root / "ade20k/images" / folder, LAYOUT).glob("*.jpg"))
    required(root / "ade20k/annotations" / folder, LAYOUT)
    pairs = ((f"ade20k/images/{folder}/{p.name}", f"ade20k/annotations/{folder}/{p.stem}.png") for p in images)
    names = dict(enumerate(_names(root / "ade20k/objectInfo150.txt"), 1))
    return label_maps.records("ade20k", split, root, names, pairs, part, ignored=(0, label_maps.IGNORED))


def _names(path: Path) -> tuple[str, ...]:
    """The first of the synonyms in the last column, or the built-in list where the file is not there."""
    if not path.exists():
        return ADE20K
    rows = path.read_text(encoding="utf-8").splitlines()[1:]
    names = tuple(row.split("\t")[-1].split(",")[0].strip() for row in rows if row.strip())
    if len(names) != len(ADE20K):
        raise DataError(f"{path}: {len(names)} classes, expected {len(ADE20K)}; copy it again or remove it")
    return names
