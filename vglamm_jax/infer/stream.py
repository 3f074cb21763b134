"""The answer's text while it is written: what people read, piece by piece, without markers or halves of them."""

import re
from collections.abc import Callable, Sequence

from vglamm_jax.infer.phrases import read

# What may still become a marker, a character or nothing: an open < or [, a byte of a longer character, spaces.
_UNFINISHED = re.compile(r"(<[^<>]{0,15}|\[[A-Z]{0,4}|\ufffd+|\s+)+$")


class TextStream:
    """Turns token ids into new text; `emit` gets each piece, and all pieces together are `Answer.text`."""

    def __init__(self, decode: Callable[[Sequence[int]], str], emit: Callable[[str], None]):
        self._decode, self._emit = decode, emit
        self._ids: list[int] = []
        self._shown = ""

    def add(self, ids: Sequence[int]) -> None:
        self._ids.extend(ids)
        self._show(_UNFINISHED.sub("", self._decode(self._ids)))

    def finish(self) -> None:
        """Shows what was held back."""
        self._show(self._decode(self._ids))

    def _show(self, raw: str) -> None:
        text = read(raw).text
        if text.startswith(self._shown) and len(text) > len(self._shown):
            self._emit(text[len(self._shown) :])
            self._shown = text
