"""Answers with the markers the model writes, and the plain text and phrases they stand for.

    "A dog chases two cats."  with phrases  (0, 5) -> dog,  (13, 21) -> cat1 + cat2
    <->  "<p> A dog </p> [SEG] chases <p> two cats </p> [SEG]."

One phrase is one [SEG], whose mask is the union of the phrase's objects (as everywhere in the original, facts section
6). A [SEG] for each cat is written as two phrases with the same characters: "<p> two cats </p> [SEG] [SEG]".
A phrase without characters (start = end) is a bare [SEG] at that place: "Sure, [SEG]." is "Sure, ." with a phrase
(6, 6). A phrase without objects is a [SEG] whose mask is empty: nothing of that kind is there.
"""

import dataclasses
import itertools
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

SEG = "[SEG]"
MARKERS = ("<p>", "</p>", SEG, "<image>", "<video>")

_SEG = r"\[SEG(?::([^\[\]]*))?\]"
_SEGS = r"(?:\[SEG(?::[^\[\]]*)?\](?:\s*(?=\[SEG))?)+"
_MARKED = re.compile(
    rf"<p>\s*(?P<words>(?:(?!</?p>|\[SEG).)*?)\s*</p>\s*(?P<named>{_SEGS})|(?P<bare>{_SEGS})", re.DOTALL
)


class MarkupError(ValueError):
    """Markers that do not fit together; the message shows the place."""


@dataclasses.dataclass(frozen=True, slots=True)
class Phrase:
    """Characters [start, end) of an answer and the objects they mean, together one [SEG]."""

    start: int
    end: int
    objects: tuple[str, ...] = ()


class Marked(NamedTuple):
    text: str
    objects: list[tuple[str, ...]]  # the ids behind each [SEG], in order


def marked(text: str, phrases: Iterable[Phrase]) -> Marked:
    """Puts the markers in. Phrases must be in order and not overlap (`check.validate`)."""
    pieces, position, phrases = [], 0, list(phrases)
    for (start, end), group in itertools.groupby(phrases, key=lambda phrase: (phrase.start, phrase.end)):
        segs = " ".join(SEG for _ in group)
        pieces.append(text[position:start])
        pieces.append(f"<p> {text[start:end]} </p> {segs}" if end > start else segs)
        position = end
    return Marked("".join([*pieces, text[position:]]), [phrase.objects for phrase in phrases])


def parse_marked(text: str, objects: Sequence[Sequence[str]] = ()) -> tuple[str, tuple[Phrase, ...]]:
    """Takes the markers out: (plain text, phrases); the inverse of `marked`.

    The ids behind each plain [SEG] come from `objects` in order; "[SEG:dog]" and "[SEG:cat1,cat2]" name theirs.

    Raises:
        MarkupError: a <p> or </p> without its partner or its [SEG], or another number of [SEG] than of `objects`.
    """
    plain, phrases, position, given = "", [], 0, iter(objects)
    for match in _MARKED.finditer(text):
        plain += _plain(text, position, match.start())
        start = len(plain)
        plain += match["words"] or ""
        for ids in re.findall(_SEG, match["named"] or match["bare"]):
            ids = [one.strip() for one in ids.split(",")] if ids else next(given, None)
            if ids is None:
                raise MarkupError(f"only {len(objects)} object lists for the [SEG] of {text!r}")
            phrases.append(Phrase(start, len(plain), tuple(ids)))
        position = match.end()
    plain += _plain(text, position, len(text))
    if next(given, None) is not None:
        raise MarkupError(f"more object lists than [SEG] in {text!r}: {len(objects)}")
    return plain, tuple(phrases)


def _plain(text: str, start: int, stop: int) -> str:
    """The text between two matches, where no marker may be left over."""
    stray = re.search(r"</?p>", text[start:stop])
    if stray:
        raise MarkupError(
            f"{stray.group()} at character {start + stray.start()} of {text!r}: write <p> words </p> [SEG], not nested"
        )
    return text[start:stop]
