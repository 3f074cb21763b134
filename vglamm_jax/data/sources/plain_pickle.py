"""Pickle files of plain data, opened without running anything they say."""

import pickle
from pathlib import Path
from typing import Any

from vglamm_jax.data.sources.own import DataError


class _PlainUnpickler(pickle.Unpickler):
    """Lists, tuples, dicts, texts and numbers have opcodes of their own; all else is a class or function by name."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it wants to load {module}.{name}")


def load(path: Path) -> Any:
    """The content of a pickle made of built-in containers, texts and numbers.

    Raises:
        DataError: it holds anything else (which could run any program), or is damaged.
    """
    try:
        with open(path, "rb") as file:
            return _PlainUnpickler(file, encoding="utf-8", errors="replace").load()
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError, AttributeError, TypeError) as error:
        raise DataError(
            f"{path}: not opened: {error}. Only pickles of plain lists, dicts, texts and numbers are safe to open; "
            "download it from the data set's own site, or save its content as .json beside it"
        ) from error
