"""Ref-DAVIS17 (facts 6.6 and 6.17), as its usual preparation lays it out; both splits have label pictures.

    processed/refer_davis/2017/meta_expressions/{train,valid}/meta_expressions.json
    processed/refer_davis/2017/{train,valid}/{JPEGImages,Annotations}/<video>/<frame>.{jpg,png}
    processed/refer_davis/2017/{train,valid}/meta.json                                               categories

In valid an object has four expressions in a row, of two annotators, for the first frame and the whole video each.
"""

from collections.abc import Iterator
from pathlib import Path

from vglamm_jax.data.schema import BadRecord, Example
from vglamm_jax.data.sources.expressions import LabelFolder, Per, label_records
from vglamm_jax.data.sources.pictures import known_split
from vglamm_jax.data.sources.registry import WHOLE, Part

SOURCE = "refer_davis"
SPLITS = ("train", "valid")


def examples(
    root: Path, split: str = "train", *, per: Per = "video", part: Part = WHOLE
) -> Iterator[Example | BadRecord]:
    """In the order of meta_expressions.json; `per` as in `expressions`.

    Raises:
        FileNotFoundError: meta_expressions.json is missing.
        ValueError: it is not JSON; no such split.
    """
    folder = LabelFolder(Path(root), "processed/refer_davis/2017", SOURCE, known_split(split, SPLITS, SOURCE))
    yield from label_records(folder, folder.videos(split), True, per, part)
