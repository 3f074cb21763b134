"""The files that list the records of a data set: JSON and lines of text, with errors that name the file."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from vglamm_jax.data.fields import short
from vglamm_jax.data.sources.own import DataError
from vglamm_jax.data.sources.pictures import read_json, required


def lines_of(path: Path, layout: str) -> list[str]:
    """The lines of a text that are not blank. Raises FileNotFoundError."""
    return [line.strip() for line in required(path, layout).read_text(encoding="utf-8").splitlines() if line.strip()]


def read_map(path: Path, layout: str, field: str | None = None) -> dict[str, Any]:
    """A JSON object, or one in a field of it. Raises FileNotFoundError, DataError."""
    return _typed(_field(read_json(path, layout), field, path), dict, field, path)


def read_list(path: Path, layout: str, of: type, field: str | None = None) -> list[Any]:
    """A JSON list of things of one type, or one in a field of an object. Raises FileNotFoundError, DataError."""
    return list_in(read_json(path, layout), of, field, path)


def list_in(content: Any, of: type, field: str | None, path: Path) -> list[Any]:
    """The same from the content of a file. Raises DataError."""
    listed = _typed(_field(content, field, path), list, field, path)
    for number, row in enumerate(listed, 1):
        if not isinstance(row, of):
            raise DataError(f"{path}: entry {number} is {short(row)}; is this the file of that name?")
    return listed


def _field(content: Any, field: str | None, path: Path) -> Any:
    if field is None:
        return content
    if not isinstance(content, dict) or field not in content:
        raise DataError(f"{path}: has no {field!r}; is this the file of that name?")
    return content[field]


def _typed(value: Any, kind: type, field: str | None, path: Path) -> Any:
    if not isinstance(value, kind):
        wanted = {dict: "an object {...}", list: "a list [...]"}[kind]
        raise DataError(f"{path}: {field or 'it'} is {short(value)}, not {wanted}; is this the file of that name?")
    return value


def grouped(rows: Iterable[Any], by: Callable[[Any], str], path: Path) -> dict[str, list]:
    """Rows of a file by a key, in the order in which keys first occur. Raises DataError for a row without the key."""
    groups: dict[str, list] = {}
    for number, row in enumerate(rows, 1):
        try:
            groups.setdefault(by(row), []).append(row)
        except (KeyError, IndexError, TypeError) as error:
            raise DataError(f"{path}: entry {number} is {short(row)}; is this the file of that name?") from error
    return groups
