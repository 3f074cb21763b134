"""From words back to what they mean, by the vocabulary alone; checks texts, ours and a model's."""

import functools
import re

from vglamm_jax.data.synthetic.language import IN_VIEW, NOUNS, PLACES, RELATIONS
from vglamm_jax.data.synthetic.scene import Description
from vglamm_jax.data.synthetic.vocabulary import COLOURS, SHAPES, SIZES, TEXTURES
from vglamm_jax.data.synthetic.words import NUMBERS, motion_of_phrase, plural

_ADJECTIVES = {word: ("size", word) for word in SIZES}
_ADJECTIVES |= {word: ("texture", word) for word in TEXTURES} | {word: ("colour", word) for word in COLOURS}
_ADJECTIVES |= {word: ("place", place) for place, options in PLACES.items() for word in options[0]}
_ADJECTIVES |= {word: ("count", number) for number, word in NUMBERS.items()}
_ARTICLES = ("the", "all", "both", "a", "an", "one", "another", "no", "which")


class ParseError(ValueError):
    """Words that say nothing this vocabulary knows."""


def parse(text: str) -> Description:
    """A referring expression in either form, or a noun phrase -> what it means.

    Raises:
        ParseError: words outside of the vocabulary.
    """
    text = " ".join(text.lower().rstrip("?. ").split())
    return _noun_phrase(re.sub(r"^where (is|are) ", "", text))


def parse_moment(text: str) -> tuple[Description, str]:
    """ "the red circle while it stands still" or "When does ... stand still?" -> who, and when: a motion or "in view".

    Raises:
        ParseError
    """
    text = " ".join(text.lower().rstrip("?. ").split())
    if match := re.fullmatch(r"when is (.+) in view", text):
        return _noun_phrase(match[1]), IN_VIEW
    if match := re.fullmatch(r"(.+?) while it (.+)", text):
        return _noun_phrase(match[1]), IN_VIEW if match[2] == "is in view" else _motion(match[2])
    if text.startswith("when does "):
        words = text.removeprefix("when does ").split()
        for split in range(2, len(words)):
            motion = motion_of_phrase().get(" ".join(words[split:]))
            if motion:
                return _noun_phrase(" ".join(words[:split])), motion
    raise ParseError(f"not a moment: {text!r}")


def _motion(words: str) -> str:
    if words not in motion_of_phrase():
        raise ParseError(f"not a motion: {words!r}")
    return motion_of_phrase()[words]


@functools.cache
def _nouns() -> dict[str, tuple[str | None, bool]]:
    """Noun -> (shape, plural)."""
    out = {noun: (None, False) for group in NOUNS for noun in group} | {shape: (shape, False) for shape in SHAPES}
    return out | {plural(noun): (shape, True) for noun, (shape, _) in out.items()}


def _noun_phrase(text: str) -> Description:
    words = text.split()
    found: dict = {}
    if words and words[0] in _ARTICLES:
        if words[0] == "both":
            found["count"] = 2
        words = words[1:]
    while words and words[0] in _ADJECTIVES:
        name, value = _ADJECTIVES[words.pop(0)]
        if name in found:
            raise ParseError(f"{name} is said twice in {text!r}")
        found[name] = value
    if not words or words[0] not in _nouns():
        raise ParseError(f"no noun where one belongs in {text!r}")
    found["shape"], found["plural"] = _nouns()[words[0]]
    return Description(**found, **_rest(" ".join(words[1:])))


def _rest(text: str) -> dict:
    """What follows the noun: a clause about motion, a relation, a place, or nothing."""
    for place, (_, clauses) in PLACES.items():
        for clause in clauses:
            if text.startswith(clause):
                return {"place": place, **_rest(text[len(clause) :].strip())}
    text = re.sub(r"^(that |which )?((is|are) )?", "", text)
    if not text:
        return {}
    for relation, options in RELATIONS.items():
        for words in (*options[0], *options[1]):
            if text.startswith(words + " "):
                return {"relation": relation, "anchor": _noun_phrase(text[len(words) + 1 :])}
    return {"motion": _motion(text)}
