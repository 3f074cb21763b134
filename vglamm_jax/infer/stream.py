"""The answer's text while it is written: what people read, piece by piece, without markers or halves of them."""

import re
from collections.abc import Callable, Sequence

from vglamm_jax.infer.phrases import read

_HALF_CHARACTER = "\ufffd"
_HALF_MARKER = re.compile(r"(?:<\|[^|<>\s]*\|?|</?[ps]?|<u(?:nk?)?|<pad?|\[(?:S(?:EG?)?)?)\Z")
_TAKEN_BACK_BEFORE_A_STOP = re.compile(r"[,;:]\Z")  # "Sure, [SEG]." reads "Sure."


class TextStream:
    """Turns token ids into new text; `emit` gets each piece, and all pieces together are `Answer.text`."""

    def __init__(self, decode: Callable[[Sequence[int]], str], emit: Callable[[str], None]):
        self._decode, self._emit = decode, emit
        self._ids: list[int] = []
        self._shown = 0  # characters

    def add(self, ids: Sequence[int]) -> None:
        self._ids.extend(ids)
        self._show(settled(self._decode(self._ids)))

    def finish(self) -> None:
        """Shows what was held back."""
        self._show(read(self._decode(self._ids)).text)

    def _show(self, text: str) -> None:
        if len(text) > self._shown:
            self._emit(text[self._shown :])
            self._shown = len(text)


def settled(raw: str) -> str:
    """The beginning of the text that no continuation of `raw` can change."""
    whole = _HALF_MARKER.sub("", raw.rstrip(_HALF_CHARACTER))
    return _TAKEN_BACK_BEFORE_A_STOP.sub("", read(whole).text)
