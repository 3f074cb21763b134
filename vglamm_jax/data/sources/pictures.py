"""What the image sources share: files that must be there, pictures by their header, records that may be broken.

The original puts the questions and answers of most image sets into its template under the wrong names, and learns two
conversations from each: that "human" is answered by the question, and that "gpt" is answered by the answer, without the
picture (facts 6). Here a question with its answer is one turn, and turns that stand alone are one conversation each.
"""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PIL import Image

from vglamm_jax.data.check import validate
from vglamm_jax.data.schema import BadRecord, Example, Media
from vglamm_jax.data.sources.own import DataError
from vglamm_jax.data.sources.registry import Part

_EXIF_ORIENTATION = 0x0112


def required(path: Path, layout: str) -> Path:
    """The path itself.

    Raises:
        FileNotFoundError: it is not there; the message says what a data set of this kind looks like.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; expected in the root folder: {layout}")
    return path


def read_json(path: Path, layout: str) -> Any:
    """Raises FileNotFoundError as `required`, DataError when it is not JSON."""
    try:
        return json.loads(required(path, layout).read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error}); copy the file again") from error


def read_lists(path: Path, layout: str, *names: str) -> dict[str, list[dict]]:
    """The JSON object at `path`, in which each of `names` is a list of objects. Raises as `read_json`."""
    content = read_json(path, layout)
    for name in names:
        if not isinstance(content, dict) or not _is_list(content.get(name)):
            raise DataError(f'{path}: expected {{"{name}": [{{...}}, ...], ...}}; copy the file again')
    return content


def read_list(path: Path, layout: str) -> list[dict]:
    """The JSON list of objects at `path`. Raises as `read_json`."""
    content = read_json(path, layout)
    if not _is_list(content):
        raise DataError(f"{path}: expected a list of objects [{{...}}, ...]; copy the file again")
    return content


def _is_list(content: Any) -> bool:
    return isinstance(content, list) and all(isinstance(entry, dict) for entry in content)


def known_split(split: str, splits: Mapping[str, Any] | Iterable[str], source: str) -> Any:
    """The data set's own name of a split.

    Raises:
        ValueError: it has no such split.
    """
    if split not in splits:
        raise ValueError(f"{source} has no split {split!r}: choose one of {', '.join(splits)}")
    return splits[split] if isinstance(splits, Mapping) else split


def share(items: Iterable, part: Part) -> Iterator:
    """Every n-th item from the k-th on, for part (k, n)."""
    return itertools.islice(items, part[0], None, part[1])


def picture(root: Path, *places: str, entry: Mapping[str, Any] = MappingProxyType({})) -> Media:
    """The picture at the first of some places under `root` that is there; its size comes from the header, upright.

    Raises:
        DataError: none of them is there, or not a picture, or not of the "height" and "width" its entry says.
    """
    place = next((place for place in places if (root / place).is_file()), None)
    if place is None:
        raise DataError(f"its picture {root / places[0]} is missing")
    size = size_of(root / place)
    expected = (int(entry.get("height", size[0])), int(entry.get("width", size[1])))
    if size != expected:
        raise DataError(f"its picture is {size[1]}x{size[0]}, its entry says {expected[1]}x{expected[0]}")
    return Media(kind="image", frames=(place,), size=size, length=1)


def size_of(path: Path) -> tuple[int, int]:
    """(height, width) of a picture, upright by EXIF. Raises DataError."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(_EXIF_ORIENTATION, 1) >= 5
            return image.size if turned else image.size[::-1]
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path} is not a readable picture") from error


def guarded(source: str, id: str, records: Iterator[Example | BadRecord]) -> Iterator[Example | BadRecord]:
    """The records one entry of a data set gives; whatever is wrong with the entry becomes a `BadRecord`."""
    try:
        for record in records:
            problems = [] if isinstance(record, BadRecord) else validate(record)
            yield BadRecord(source, record.id, "; ".join(map(str, problems))) if problems else record
    except BadRecord as error:
        yield error
    except (KeyError, IndexError) as error:
        yield BadRecord(source, id, f"the entry lacks {error}")
    except (TypeError, ValueError, AttributeError, OSError) as error:
        yield BadRecord(source, id, str(error))
