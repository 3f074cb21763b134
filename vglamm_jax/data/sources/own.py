"""What the sources for people's own data share: rows that know where they came from, and the wording of requests."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from vglamm_jax.data import templates
from vglamm_jax.data.check import validate
from vglamm_jax.data.fields import Problem
from vglamm_jax.data.image_files import SUFFIXES
from vglamm_jax.data.markup import parse_marked
from vglamm_jax.data.schema import BadRecord, Example, Turn

SPLITS = ("train", "validation", "val", "valid", "valid_u", "test")  # names that are looked for


class DataError(ValueError):
    """Data that cannot be read at all; the message names the file and the fix."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A record of somebody's data: where it stands, and the example or what is wrong with it, or both."""

    place: str  # "train.jsonl:12" or "meta_expressions.json: videos.dog"
    id: str
    example: Example | None
    problems: tuple[Problem, ...] = ()


def checked(rows: Iterable[Row], max_objects: int | None = None) -> Iterator[Row]:
    """Adds what `check.validate` and a look at the other ids find."""
    seen: dict[str, str] = {}
    for row in rows:
        problems = list(row.problems)
        if row.example is not None:
            problems += validate(row.example, max_objects)
            if row.id in seen:
                problems.append(Problem("id", f"{row.id!r} is there before, at {seen[row.id]}", "give each its own id"))
            seen.setdefault(row.id, row.place)
        yield dataclasses.replace(row, problems=tuple(problems))


def records(source: str, rows: Iterable[Row]) -> Iterator[Example | BadRecord]:
    """What `examples` of a source yields: good checked rows as examples, and a `BadRecord` for each that is not."""
    for row in rows:
        if row.problems:
            yield BadRecord(source, f"{row.place}: {row.id}", "; ".join(map(str, row.problems)))
        elif row.example is not None:
            yield row.example


def segment_turn(expression: str, objects: Iterable[str], kind: str) -> Turn:
    """The request for a mask of what the expression names, and its answer: one [SEG] of all its objects.

    Training words request and answer in other ways, too (`data/templates.py`).
    """
    answer, phrases = parse_marked(templates.SEGMENT_ANSWERS[0], [tuple(objects)])
    return Turn(
        question=templates.fill(templates.SEGMENT[kind][0], expression, kind),
        answer=answer,
        phrases=phrases,
        task="segment",
        expression=expression,
    )


def describe_turn(caption: str, kind: str) -> Turn:
    """The request for a description, and a caption with "[SEG:ids]" as its answer.

    Raises:
        MarkupError: markers that do not fit together.
    """
    answer, phrases = parse_marked(caption)
    return Turn(
        question=templates.fill(templates.DESCRIBE[kind][0], kind=kind), answer=answer, phrases=phrases, task="describe"
    )


def tidy(expression: str) -> str:
    """An expression as part of a sentence: single spaces, no full stop."""
    return " ".join(expression.split()).rstrip(".")


def first_existing(root: Path, places: Iterable[str], holds: Callable[[Path], bool] = Path.is_dir) -> Path | None:
    """The first of some places under `root` that is there, "" being `root` itself."""
    return next((path for path in (root / place for place in places) if holds(path)), None)


def pictures(folder: Path) -> dict[str, Path]:
    """The pictures of a folder by name without suffix."""
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES}
