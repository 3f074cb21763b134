"""From descriptions to words: noun phrases, referring expressions, moments in time. `parsing` goes back."""

import dataclasses

import numpy as np

from vglamm_jax.data.synthetic.paths import choose
from vglamm_jax.data.synthetic.scene import Description
from vglamm_jax.data.synthetic.words import NUMBERS, inflect, phrasings, plural

FORMS = ("declarative", "interrogative")
IN_VIEW = "in view"

NOUNS = (("thing", "object"), ("item",))
PLACES = {
    "leftmost": (("leftmost",), ("that is furthest to the left",)),
    "rightmost": (("rightmost",), ("that is furthest to the right",)),
    "topmost": (("topmost", "highest"), ("that is furthest up",)),
    "lowest": (("lowest", "bottommost"), ("that is furthest down",)),
}
RELATIONS = {
    "left of": (("to the left of",), ("on the left side of",)),
    "right of": (("to the right of",), ("on the right side of",)),
    "above": (("above",), ("higher up than",)),
    "below": (("below",), ("lower down than",)),
    "in front of": (("in front of", "partly covering"), ("overlapping",)),
    "behind": (("behind", "partly covered by"), ("overlapped by",)),
}


@dataclasses.dataclass(frozen=True)
class Speaker:
    """Chooses among phrasings; `wording` as in `world.Settings`."""

    wording: str
    rng: np.random.Generator

    def one_of(self, options: tuple[tuple[str, ...], tuple[str, ...]]) -> str:
        train, held_out = options
        return choose(self.rng, {"train": train, "held-out": held_out, "both": train + held_out}[self.wording])

    def verb(self, motion: str, form: str) -> str:
        return inflect(choose(self.rng, phrasings(motion, self.wording)), form)


def referring(meant: Description, form: str, speaker: Speaker) -> str:
    """ "the red circle that moves to the left", or "Which red circle moves to the left?"."""
    if form == "declarative":
        return noun_phrase(meant, speaker)
    verb = "are" if meant.plural else "is"
    if meant.motion and speaker.rng.random() < 0.8:
        return f"Which {_head(meant, speaker)} {speaker.verb(meant.motion, 'base' if meant.plural else 'third')}?"
    if meant.relation and speaker.rng.random() < 0.8:
        return f"Which {_head(meant, speaker)} {verb} {_relation(meant, speaker)}?"
    return f"Where {verb} {noun_phrase(meant, speaker)}?"


def noun_phrase(meant: Description, speaker: Speaker) -> str:
    """With its article: "the red circle", "both red circles", "all red circles that move"."""
    if meant.plural and meant.count is None:
        article = "all "
    elif meant.count == 2 and speaker.rng.random() < 0.4:
        article, meant = "both ", dataclasses.replace(meant, count=None)
    else:
        article = "the "
    return article + without_article(meant, speaker)


def without_article(meant: Description, speaker: Speaker) -> str:
    return _head(meant, speaker) + _tail(meant, speaker)


def moment(meant: Description, when: str, form: str, speaker: Speaker) -> str:
    """ "the red circle while it stands still", or "When does the red circle stand still?"."""
    who = noun_phrase(meant, speaker)
    if when == IN_VIEW:
        return f"{who} while it is in view" if form == "declarative" else f"When is {who} in view?"
    if form == "declarative":
        return f"{who} while it {speaker.verb(when, 'third')}"
    return f"When does {who} {speaker.verb(when, 'base')}?"


def _head(meant: Description, speaker: Speaker) -> str:
    """Number, adjectives and noun, and the place, which stands before or after them."""
    noun = meant.shape or speaker.one_of(NOUNS)
    adjectives = [meant.size, meant.texture, meant.colour]
    words = [NUMBERS[meant.count] if meant.count else None, *adjectives, plural(noun) if meant.plural else noun]
    place = speaker.one_of(PLACES[meant.place]) if meant.place else None
    words = [*words, place] if place and " " in place else [place, *words]
    return " ".join(word for word in words if word)


def _tail(meant: Description, speaker: Speaker) -> str:
    if meant.motion:
        if speaker.rng.random() < 0.4:
            return " " + speaker.verb(meant.motion, "ing")
        return " that " + speaker.verb(meant.motion, "base" if meant.plural else "third")
    return " " + _relation(meant, speaker) if meant.relation else ""


def _relation(meant: Description, speaker: Speaker) -> str:
    return f"{speaker.one_of(RELATIONS[meant.relation])} {noun_phrase(meant.anchor, speaker)}"
