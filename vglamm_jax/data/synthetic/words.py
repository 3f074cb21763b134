"""The vocabulary of motions: phrasings, their inflected forms, and back from a form to the motion.

In a pattern "[move] to the right and then [stop]", verbs in brackets are inflected: "moves ... and then stops" (third),
"move ... stop" (base), "moving ... stopping" (ing). Each motion has phrasings for training and others held out.
"""

import functools
import re

from vglamm_jax.data.synthetic.vocabulary import DIRECTIONS, RETURNS, SIDES, STARTS, STOPS, TURNS

FORMS = ("base", "third", "ing")
NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
_DOUBLED = ("stop", "spin", "bob", "get", "set")
_TO = {"right": "to the right", "left": "to the left", "up": "upwards", "down": "downwards"}
_OUT = {"left": "on the left", "right": "on the right", "top": "at the top", "bottom": "at the bottom"}

Patterns = tuple[tuple[str, ...], tuple[str, ...]]  # for training, held out


def _phrasings() -> dict[str, Patterns]:
    out: dict[str, Patterns] = {
        "still": (("[stand] still", "[stay] in place"), ("[remain] motionless",)),
        "move": (("[move]",), ("[move] about",)),
        "stop": (("[come] to a stop", "[stop] midway"), ("[come] to rest",)),
        "start": (("[start] moving", "[begin] to move"), ("[set] off after a while",)),
        "swing sideways": (
            ("[move] back and forth sideways", "[swing] from side to side"),
            ("[shuttle] from side to side",),
        ),
        "swing upright": (("[move] up and down", "[bob] up and down"), ("[shuttle] from top to bottom",)),
        "bounce": (("[bounce] off the edge", "[bounce] off the border"), ("[rebound] from the edge",)),
        "spin": (("[spin] in place", "[rotate] on the spot"), ("[whirl] on the spot",)),
        "grow": (("[grow]", "[get] larger"), ("[expand]",)),
        "shrink": (("[shrink]", "[get] smaller"), ("[contract]",)),
    }
    for turn in ("clockwise", "counterclockwise"):
        out[f"circle {turn}"] = ((f"[circle] {turn}", f"[move] in a circle {turn}"), (f"[go] round {turn}",))
    for way in DIRECTIONS:
        to = _TO[way]
        out[way] = ((f"[move] {to}", f"[go] {way}"), (f"[travel] {to}", f"[head] {way}"))
        out[f"{way} fast"] = ((f"[move] quickly {to}", f"[rush] {to}"), (f"[dash] {to}",))
        out[f"{way} slow"] = ((f"[move] slowly {to}", f"[creep] {to}"), (f"[crawl] {to}",))
    for side in SIDES:
        out[f"enter {side}"] = (
            (f"[enter] from the {side}", f"[come] in from the {side}"),
            (f"[appear] from the {side}",),
        )
        out[f"leave {side}"] = ((f"[leave] {_OUT[side]}", f"[move] out {_OUT[side]}"), (f"[vanish] {_OUT[side]}",))
    return out | _two_legs()


def _two_legs() -> dict[str, Patterns]:
    out: dict[str, Patterns] = {}
    for motion in (*STOPS, *STARTS, *RETURNS, *TURNS):
        a, b = motion.split(">")
        if motion in STOPS:
            out[motion] = ((f"[move] {_TO[a]} and then [stop]", f"[go] {a}, then [stop]"), (f"[head] {a} and [halt]",))
        elif motion in STARTS:
            out[motion] = (
                (f"[wait] and then [move] {_TO[b]}", f"[stand] still, then [go] {b}"),
                (f"[pause] first and [head] {b} later",),
            )
        elif motion in RETURNS:
            out[motion] = (
                (f"[move] {_TO[a]} and then back", f"[go] {a}, then [come] back"),
                (f"[head] {a} and [return]",),
            )
        else:
            out[motion] = (
                (f"[move] {_TO[a]} and then {_TO[b]}", f"[go] {a}, then [turn] {b}"),
                (f"[head] {a} and [veer] {b}",),
            )
    return out


PHRASINGS = _phrasings()


def phrasings(motion: str, wording: str) -> tuple[str, ...]:
    """The patterns of a motion; `wording` is "train", "held-out" or "both"."""
    train, held_out = PHRASINGS[motion]
    return {"train": train, "held-out": held_out, "both": train + held_out}[wording]


def inflect(pattern: str, form: str) -> str:
    """ "[move] up and [stop]", "ing" -> "moving up and stopping"."""
    return re.sub(r"\[(\w+)\]", lambda match: _verb(match[1], form), pattern)


def _verb(verb: str, form: str) -> str:
    if form == "base":
        return verb
    if form == "third":
        return verb + ("es" if re.search(r"(s|sh|ch|x|o)$", verb) else "s")
    if verb in _DOUBLED:
        return verb + verb[-1] + "ing"
    return (verb[:-1] if verb.endswith("e") else verb) + "ing"


@functools.cache
def motion_of_phrase() -> dict[str, str]:
    """Every inflected phrasing -> its motion. No two motions share one."""
    out: dict[str, str] = {}
    for motion, (train, held_out) in PHRASINGS.items():
        for pattern in train + held_out:
            for form in FORMS:
                phrase = inflect(pattern, form)
                if out.setdefault(phrase, motion) != motion:
                    raise ValueError(f"{phrase!r} means both {out[phrase]!r} and {motion!r}")
    return out


def plural(noun: str) -> str:
    return noun + ("es" if noun.endswith("s") else "s")
