"""Reading plain JSON values into dataclasses, with every mistake collected instead of the first one raised."""

import dataclasses
import difflib
import math
from collections.abc import Callable
from typing import Any, NamedTuple

_REQUIRED = object()


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing wrong with an example: where, what, and what to do about it."""

    field: str  # e.g. "turns[0].phrases[1].end"
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.field}: {self.what}; {self.fix}"


class Kind(NamedTuple):
    """What a value must be."""

    name: str
    fits: Callable[[Any], bool]


def is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def is_numbers(value: Any, count: int) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == count and all(map(is_number, value))


TEXT = Kind("text", lambda value: isinstance(value, str))
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
COUNT = Kind("a whole number, 0 or more", is_count)
NUMBER = Kind("a number", is_number)
LIST = Kind("a list", lambda value: isinstance(value, (list, tuple)))
MAP = Kind("an object {...}", lambda value: isinstance(value, dict))
TEXTS = Kind("a list of texts", lambda value: LIST.fits(value) and all(map(TEXT.fits, value)))
SIZE = Kind("[height, width]", lambda value: is_numbers(value, 2) and all(map(is_count, value)))
SPAN = Kind("[start, end] in seconds", lambda value: is_numbers(value, 2))
BOX = Kind("[x, y, width, height]", lambda value: is_numbers(value, 4))


class Fields:
    """The fields of one JSON object: `get` gives the value, or notes a problem and gives the default."""

    def __init__(self, content: Any, where: str, known: tuple[str, ...], problems: list[Problem]):
        self.where, self.problems = where, problems
        self.content = content if isinstance(content, dict) else {}
        self.readable = isinstance(content, dict)
        if not self.readable:
            problems.append(Problem(where or "example", f"is {short(content)}", f"write {MAP.name}"))
        for name in self.content:
            if name not in known:
                problems.append(Problem(self.path(name), "unknown field", _suggestion(name, known)))

    def path(self, name: str) -> str:
        return f"{self.where}.{name}" if self.where else name

    def has(self, name: str) -> bool:
        return self.content.get(name) is not None

    def get(self, name: str, kind: Kind, default: Any = _REQUIRED) -> Any:
        """The value of a field; one that is required and missing, or does not fit, is a problem."""
        value = self.content.get(name)
        if value is None and default is not _REQUIRED:
            return default
        if self.readable and name not in self.content:
            self.problems.append(Problem(self.path(name), "is missing", f"write {kind.name}"))
        elif self.readable and not kind.fits(value):
            self.problems.append(Problem(self.path(name), f"is {short(value)}", f"write {kind.name}"))
        else:
            return value
        return None if default is _REQUIRED else default


def short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _suggestion(name: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f"did you mean {close[0]!r}?" if close else f"remove it (known: {', '.join(known)})"
