"""Records from a path, whatever lies there: people's own data in one of three forms, or a public set by its name."""

from collections.abc import Iterator
from pathlib import Path

from vglamm_jax.data.fields import Problem
from vglamm_jax.data.schema import BadRecord, Example
from vglamm_jax.data.sources import own_coco, own_davis, own_jsonl, registry
from vglamm_jax.data.sources.own import DataError, Row, checked, records

OWN = {"davis": own_davis, "jsonl": own_jsonl, "coco": own_coco}


def rows(
    path: Path, split: str | None = None, source: str | None = None, max_objects: int | None = None
) -> Iterator[Row]:
    """Validated rows of the data at `path`; `source` names the form or set, found out by itself for own data.

    Raises:
        ValueError: nothing there that is known, or no such source or split.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; check the path")
    if source is None or source in OWN:
        return checked(_own_rows(path, split, source), max_objects)
    return checked(_public_rows(path, split or "train", source), max_objects)


def examples(path: Path, split: str | None = None, source: str | None = None) -> Iterator[Example | BadRecord]:
    """The same as sources give them (`sources/__init__.py`); paths in them are relative to `root_of(path)`."""
    return records(source or "own", rows(path, split, source))


def kind_of(path: Path) -> str:
    """ "davis", "jsonl" or "coco".

    Raises:
        DataError: none of them.
    """
    for name, module in OWN.items():
        if module.splits(path):
            return name
    raise DataError(
        f"{path}: no data here that is known: expected *.jsonl (docs/data_schema.md), a COCO or YouTube-VIS .json, "
        f"a folder with {own_davis.META}, or the name of a public set (--source)"
    )


def root_of(path: Path) -> Path:
    """The folder that paths in the records are relative to."""
    return Path(path) if Path(path).is_dir() else Path(path).parent


def _own_rows(path: Path, split: str | None, source: str | None) -> Iterator[Row]:
    module = OWN[source or kind_of(path)]
    if split is not None:
        return module.rows(path, split)
    return (row for found in module.splits(path) or ["train"] for row in module.rows(path, found))


def _public_rows(path: Path, split: str, source: str) -> Iterator[Row]:
    for record in registry.examples(source, path, split):
        if isinstance(record, BadRecord):
            yield Row(record.source, record.id, None, (Problem("record", record.reason, "it is left out"),))
        else:
            yield Row(record.source, record.id, record)
