"""What is in some data: counts, lengths, sizes, per source; as a table and as JSON.

stats = collect(rows, check)
print(table(stats))
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from vglamm_jax.data.fields import Problem
from vglamm_jax.data.masks import area
from vglamm_jax.data.schema import Example, Media
from vglamm_jax.data.sources.own import Row

AREA_EDGES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # of the picture


@dataclasses.dataclass
class Stats:
    """Counters of one source and split; a histogram is a Counter value -> how often."""

    examples: int = 0
    bad: int = 0
    without_media: int = 0
    kinds: Counter = dataclasses.field(default_factory=Counter)
    tasks: Counter = dataclasses.field(default_factory=Counter)
    turns: Counter = dataclasses.field(default_factory=Counter)  # of an example
    objects: Counter = dataclasses.field(default_factory=Counter)  # of an example
    segs: Counter = dataclasses.field(default_factory=Counter)  # [SEG] of an answer
    phrase_words: Counter = dataclasses.field(default_factory=Counter)
    expression_words: Counter = dataclasses.field(default_factory=Counter)
    answer_words: Counter = dataclasses.field(default_factory=Counter)
    frames: Counter = dataclasses.field(default_factory=Counter)  # of an example
    annotated_frames: Counter = dataclasses.field(default_factory=Counter)  # of an object
    mask_area: Counter = dataclasses.field(default_factory=Counter)  # upper edge of the bin, of each mask
    categories: Counter = dataclasses.field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """Plain values; keys of histograms as text, in order."""
        return {
            field.name: {str(key): count for key, count in sorted(value.items(), key=_by_key)}
            if isinstance(value := getattr(self, field.name), Counter)
            else value
            for field in dataclasses.fields(self)
        }


def collect(rows: Iterable[Row], check: Callable[[Media], list[Problem]] | None = None) -> dict[str, Stats]:
    """Statistics by "source/split"; rows with problems count as bad and nothing else. `check` looks for the media."""
    found: dict[str, Stats] = {}
    for row in rows:
        example = row.example
        name = "no example" if example is None else f"{example.source}/{example.split}"
        stats = found.setdefault(name, Stats())
        if row.problems or example is None:
            stats.bad += 1
            continue
        _count(example, stats)
        if check is not None and check(example.media):
            stats.without_media += 1
    return found


def _count(example: Example, stats: Stats) -> None:
    stats.examples += 1
    stats.kinds[example.media.kind] += 1
    stats.frames[example.media.length] += 1
    stats.turns[len(example.turns)] += 1
    stats.objects[len(example.objects)] += 1
    for turn in example.turns:
        stats.tasks[turn.task] += 1
        stats.segs[len(turn.phrases)] += 1
        stats.answer_words[words(turn.answer)] += 1
        if turn.expression is not None:
            stats.expression_words[words(turn.expression)] += 1
        for phrase in turn.phrases:
            if phrase.start < phrase.end:
                stats.phrase_words[words(turn.answer[phrase.start : phrase.end])] += 1
    pixels = example.media.size[0] * example.media.size[1]
    for thing in example.objects:
        stats.annotated_frames[len(thing.masks)] += 1
        if thing.category is not None:
            stats.categories[thing.category] += 1
        for rle in thing.masks.values():
            if rle is not None:
                stats.mask_area[area_bin(area(rle) / pixels)] += 1


def words(text: str) -> int:
    return len(re.findall(r"\w+(?:['’]\w+)?", text))


def area_bin(fraction: float) -> float:
    """The upper edge of the bin of `AREA_EDGES` a mask falls into."""
    return next(edge for edge in AREA_EDGES if fraction <= edge)


def table(found: dict[str, Stats]) -> str:
    """For people: one column a source and split."""
    rows = [("", *found)]
    for name in ("examples", "bad", "without_media"):
        rows.append((name.replace("_", " "), *(str(getattr(stats, name)) for stats in found.values())))
    for name in ("kinds", "tasks"):
        for key in sorted({key for stats in found.values() for key in getattr(stats, name)}):
            rows.append((f"{name[:-1]} {key}", *(str(getattr(stats, name)[key]) for stats in found.values())))
    for name, label in _SPREADS.items():
        rows.append((label, *(spread(getattr(stats, name)) for stats in found.values())))
    for edge in AREA_EDGES:
        rows.append((f"masks up to {edge:.1%} of the picture", *(_share(stats, edge) for stats in found.values())))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


_SPREADS = {
    "frames": "frames of an example",
    "turns": "turns of an example",
    "objects": "objects of an example",
    "annotated_frames": "annotated frames of an object",
    "segs": "[SEG] of an answer",
    "answer_words": "words of an answer",
    "phrase_words": "words of a phrase",
    "expression_words": "words of an expression",
}


def spread(histogram: Counter) -> str:
    """ "least .. median .. most" of a histogram of numbers, or "-"."""
    if not histogram:
        return "-"
    values = sorted(histogram)
    middle, passed = histogram.total() / 2, 0
    for median in values:
        passed += histogram[median]
        if passed >= middle:
            break
    return f"{values[0]} .. {median} .. {values[-1]}"


def _share(stats: Stats, edge: float) -> str:
    total = stats.mask_area.total()
    return f"{stats.mask_area[edge] / total:.0%}" if total else "-"


def _by_key(item: tuple[Any, int]) -> tuple:
    key = item[0]
    return (0, key, "") if isinstance(key, (int, float)) else (1, 0, key)
