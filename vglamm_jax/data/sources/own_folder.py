"""Anybody's own data (docs/data_schema.md) as one of the data sets that can be built: JSONL, COCO or DAVIS' layout."""

from collections.abc import Iterator
from pathlib import Path

from vglamm_jax.data.schema import BadRecord, Example
from vglamm_jax.data.sources import find
from vglamm_jax.data.sources.own import DataError
from vglamm_jax.data.sources.registry import WHOLE, Part

SOURCE = "own"


def examples(
    root: Path, split: str = "train", *, form: str | None = None, part: Part = WHOLE
) -> Iterator[Example | BadRecord]:
    """The rows of one split in their order, paths in them relative to `root`; `form` as in `find.OWN`, else found out.

    Rows tell only when they are read what they are: each of several readers reads all, and keeps its share.

    Raises:
        DataError: nothing there that is known, no such form, or no row of the split.
    """
    if form is not None and form not in find.OWN:
        raise DataError(f"no form of data {form!r}: choose one of {', '.join(find.OWN)}")
    rows = enumerate(find.examples(root, split, form))
    first = next(rows, None)
    if first is None:
        raise DataError(f"{root}: no row of the split {split!r}; `vglamm data stats {root}` lists the splits")
    if part[0] == 0:
        yield first[1]
    yield from (record for number, record in rows if number % part[1] == part[0])
