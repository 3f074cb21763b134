"""From what the model wrote to what people read: markers removed, each [SEG] tied to its words.

    "<p>A dog</p> [SEG] walks across the lawn [SEG]."  ->  "A dog walks across the lawn."
                                                           phrases "A dog" (0, 5) and "the lawn" (19, 27)

The words of a [SEG] are, in this order:
1. the `<p>...</p>` it directly follows (several [SEG] in a row share one; so do "[SEG], [SEG]" and "[SEG] and [SEG]");
2. the text since a `<p>` that was never closed;
3. the words before it, back to punctuation, a line end, the object before, or eight words; of these, from the first
   article, possessive or number on, where there is one;
4. nothing, where no word stands before it: an empty phrase at its place.
"""

import dataclasses
import re

SEG = "[SEG]"
MAX_WORDS = 8

_MARKER = re.compile(r"(\[SEG\]|</?p>|<\|[^|<>\s]*\|>|</?s>|<unk>|<pad>)")
_CLOSING = frozenset(",.;:!?)]}…’'。，；：！？）】」")
_BREAK = re.compile(r"[.,;:!?()\[\]{}\"“”…\n。，；：！？（）【】「」]")
_ONLY_LINKS = re.compile(r"(?:[\s,&]|\band\b)*")
_NOUN_START = re.compile(
    r"\b(?:an?|the|this|that|these|those|my|your|his|her|its|our|their|one|two|three|four|five|some|another|each|both|"
    r"every)\b",
    re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True)
class Reading:
    """Text for people, and for each [SEG] the [start, stop) characters of its words in it."""

    text: str
    spans: list[tuple[int, int]]


def read(raw: str) -> Reading:
    """Raw model output -> text without markers and special tokens, with tidy spaces, and a span per [SEG]."""
    scan = _Scan()
    for n, part in enumerate(_MARKER.split(raw)):
        if n % 2:
            scan.marker(part)
        else:
            scan.words(part)
    text = "".join(scan.shown)
    stop = len(text.rstrip())
    spans = _spans(text, scan.segments)
    return Reading(text[:stop], [(min(a, stop), min(b, stop)) for a, b in spans])


@dataclasses.dataclass
class _Segment:
    position: int
    phrase: tuple[int, int] | None  # the <p>...</p> before it, if one has been seen
    opened: int | None  # where an unclosed <p> begins
    wordless: bool = False  # it followed a comma that is gone, so the words before are not its own


class _Scan:
    """Writes shown characters one by one and remembers where the markers were."""

    def __init__(self):
        self.shown: list[str] = []
        self.segments: list[_Segment] = []
        self.space = self.after_marker = self.opening = False
        self.opened: int | None = None
        self.phrase: tuple[int, int] | None = None

    def words(self, text: str) -> None:
        for character in text:
            if character in " \t":
                self.space = bool(self.shown)
                continue
            if self.after_marker and character in _CLOSING:
                self._close(character)
            elif self.space and character != "\n":
                self.shown.append(" ")
            if self.opening and character != "\n":
                self.opened, self.opening = len(self.shown), False
            if character != "\n" or self.shown:
                self.shown.append(character)
            self.space = self.after_marker = False

    def _close(self, character: str) -> None:
        """Punctuation after a removed marker: no space before it, and "Sure, [SEG]." reads "Sure."."""
        if character in ".!?" and self.shown and self.shown[-1] in ",;:":
            self.shown.pop()
            for segment in self.segments:
                if segment.position > len(self.shown):
                    segment.position, segment.wordless = len(self.shown), True

    def marker(self, marker: str) -> None:
        self.after_marker = True
        if marker == "<p>":
            self.opening = True
        elif marker == "</p>" and self.opened is not None:
            self.phrase, self.opened = (self.opened, len(self.shown)), None
        elif marker == SEG:
            self.segments.append(_Segment(len(self.shown), self.phrase, self.opened))


def _spans(text: str, segments: list[_Segment]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    previous = 0
    for segment in segments:
        spans.append(_span(text, segment, previous, spans))
        previous = segment.position
    return spans


def _span(text: str, segment: _Segment, previous: int, spans: list[tuple[int, int]]) -> tuple[int, int]:
    end = segment.position
    if segment.phrase is not None and _ONLY_LINKS.fullmatch(text[segment.phrase[1] : end]):
        return segment.phrase
    if spans and _ONLY_LINKS.fullmatch(text[previous:end]):
        return spans[-1]
    if segment.opened is not None and segment.opened < end:
        return segment.opened, end
    return (end, end) if segment.wordless else _words_before(text, previous, end)


def _words_before(text: str, start: int, end: int) -> tuple[int, int]:
    for mark in _BREAK.finditer(text, start, end):
        start = mark.end()
    words = list(re.finditer(r"\S+", text[start:end]))[-MAX_WORDS:]
    if not words:
        return end, end
    end = start + words[-1].end()
    start += words[0].start()
    noun = _NOUN_START.search(text, start, end)
    # An article with nothing after it ("this [SEG]") is still all there is.
    return (noun.start(), end) if noun else (start, end)
