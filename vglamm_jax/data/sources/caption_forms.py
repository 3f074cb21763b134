"""Captions in the forms the GCG sets are published in -> plain text and phrases.

- `bracketed` (facts 6.13 to 6.15): A [man](0) leads [two dogs](1, 2).
- `of_words` (facts 6.11): A man leads two dogs, with word numbers [1, 4, 4] and mask ids [7, 8, 9]
- `data.markup.parse_marked` (facts 6.12 and 6.16): A <p> man </p> [SEG:0] leads
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from vglamm_jax.data.markup import MarkupError, Phrase

_BRACKETED = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")


def bracketed(caption: str) -> tuple[str, tuple[Phrase, ...]]:
    """One phrase, hence one [SEG], for each pair of brackets, in their order.

    Raises:
        MarkupError: ids that are not numbers, or words that are nothing but spaces.
    """
    plain, phrases, position = "", [], 0
    for match in _BRACKETED.finditer(caption):
        plain += caption[position : match.start()]
        words, ids = match[1].strip(), [one.strip() for one in match[2].split(",")]
        if not words or not all(map(str.isdecimal, ids)):
            raise MarkupError(f"{match.group()} of {caption!r}: expected [words](number, number, ...)")
        phrases.append(Phrase(len(plain), len(plain) + len(words), _unique(str(int(one)) for one in ids)))
        plain += words
        position = match.end()
    return plain + caption[position:], tuple(phrases)


def of_words(caption: str, words: Sequence[int] | None, ids: Sequence[int] | None) -> tuple[str, tuple[Phrase, ...]]:
    """One phrase for each word (separated by single spaces) that is listed, in order; its ids are taken together.

    Raises:
        MarkupError: numbers and ids do not pair up, or a number points at no word.
    """
    if words is None or ids is None or len(words) != len(ids):
        raise MarkupError(f"word numbers {words} and mask ids {ids} do not pair up")
    by_word = defaultdict(list)
    for word, id in zip(words, ids):
        by_word[word].append(str(id))
    tokens = caption.split(" ")
    phrases = []
    for word in sorted(by_word):
        if not 0 <= word < len(tokens) or not tokens[word]:
            raise MarkupError(f"word number {word} points at none of the {len(tokens)} words of {caption!r}")
        start = sum(len(token) + 1 for token in tokens[:word])
        phrases.append(Phrase(start, start + len(tokens[word]), _unique(by_word[word])))
    return caption, tuple(phrases)


def _unique(ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(ids))
