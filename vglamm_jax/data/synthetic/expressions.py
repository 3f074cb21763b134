"""Which descriptions of a scene are worth saying: each true of exactly the things it means, and false of all others.

Five kinds: "appearance" (looks alone), "motion" (one of two look-alikes: looks fit both), "relation" (to another
thing, or a place among equals), "several" things, and "none": something that is not there.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from vglamm_jax.data.synthetic.language import FORMS, IN_VIEW, Speaker, moment, referring
from vglamm_jax.data.synthetic.paths import STEPS, choose
from vglamm_jax.data.synthetic.scene import PLACES, Description, Scene
from vglamm_jax.data.synthetic.vocabulary import (
    CLASS_OF,
    COLOURS,
    DIRECTIONS,
    RETURNS,
    SHAPES,
    SIDES,
    TEXTURES,
    held_out,
)

KINDS = ("appearance", "motion", "relation", "several", "none")
TRIES = 60
LASTING = 20  # dense steps, of a phase that is to be found in time
# Motions of look-alikes by words that do not depend on where they are, as "enters" or "moves right and stops" would.
TELLING = (
    *(f"{way}{pace}" for way in DIRECTIONS for pace in ("", " fast", " slow")),
    *("still", "stop", "start", "swing sideways", "swing upright", "circle clockwise", "circle counterclockwise"),
)
_SHARED = (
    "move",
    "still",
    *DIRECTIONS,
    "stop",
    "start",
    *(f"enter {s}" for s in SIDES),
    *(f"leave {s}" for s in SIDES),
)
_ABSENT = (*TELLING, *RETURNS, "spin", "grow", "shrink", "bounce")
_SUBSETS = (
    ("shape",),
    ("colour",),
    ("texture",),
    ("size",),
    ("colour", "shape"),
    ("texture", "shape"),
    ("size", "shape"),
    ("size", "colour"),
    ("texture", "colour"),
    ("texture", "colour", "shape"),
    ("size", "colour", "shape"),
    ("size", "texture", "colour", "shape"),
)
_WITH_SHAPE = tuple(names for names in _SUBSETS if "shape" in names)


@dataclasses.dataclass(frozen=True)
class Expression:
    """`things` are the places of what is meant in `World.things`; empty for the kind "none"."""

    kind: str
    form: str  # declarative: a noun phrase; interrogative: a question
    text: str
    description: Description
    things: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Moment:
    """A thing and a part of the clip: frames first..last, both included."""

    form: str
    text: str
    description: Description
    when: str  # a motion, or "in view"
    thing: int
    frames: tuple[int, int]


def expressions(scene: Scene, split: str, speaker: Speaker) -> tuple[Expression, ...]:
    """One of each kind in each form, as far as the scene has them. All five whenever there are three or more things."""
    out = []
    for kind in KINDS:
        for form in FORMS:
            meant = _FIND[kind](scene, split, speaker.rng)
            if meant is not None:
                out.append(Expression(kind, form, referring(meant, form, speaker), meant, scene.things(meant)))
    return tuple(out)


def moments(scene: Scene, speaker: Speaker) -> tuple[Moment, ...]:
    """One in each form; about a part of the clip if anything has one that can be named, else about all of it."""
    things, last = range(len(scene.world.things)), scene.world.settings.frames - 1
    parts = [(i, when) for i in things for when in _whens(scene, i)]
    whole = [(i, IN_VIEW) for i in things if span(scene, i, IN_VIEW) == (0, last)]
    somehow = [(i, phase.kind) for i in things for phase in scene.tracks[i].phases if phase.kind != "other"]
    out = []
    for form in FORMS:
        for candidates in (parts, whole, somehow):
            named = _first_named(scene, _shuffled(candidates, speaker.rng), speaker.rng)
            if named is not None:
                i, when, meant = named
                text = moment(meant, when, form, speaker)
                out.append(Moment(form, text, meant, when, i, span(scene, i, when)))
                break
    return tuple(out)


def span(scene: Scene, thing: int, when: str) -> tuple[int, int] | None:
    """First and last frame in which a thing is seen doing `when`; None unless that is one stretch of two or more."""
    frames = scene.world.settings.frames
    if when == IN_VIEW:
        seen = np.flatnonzero(scene.layers.seen[thing])
        whole = len(seen) > 1 and seen[-1] - seen[0] == len(seen) - 1
        return (int(seen[0]), int(seen[-1])) if whole else None
    phases = [phase for phase in scene.tracks[thing].phases if phase.kind == when]
    if len(phases) != 1 or phases[0].stop - phases[0].start < LASTING:
        return None
    first = int(np.ceil(phases[0].start * (frames - 1) / STEPS - 0.05))
    last = int(np.floor(phases[0].stop * (frames - 1) / STEPS + 0.05))
    return (first, last) if last > first else None


def by_look(scene: Scene, i: int, names: tuple[str, ...]) -> Description | None:
    """Some words of a thing's looks; None when it lacks one (a size)."""
    values = {name: getattr(scene.world.things[i].look, name) for name in names}
    return None if None in values.values() else Description(**values)


def only(scene: Scene, i: int, rng: np.random.Generator, with_place: bool = True) -> Description | None:
    """A description of one thing by its looks, and its place among those that look alike if that is needed."""
    options = [by_look(scene, i, names) for names in _shuffled(_WITH_SHAPE, rng)]
    options = [meant for meant in options if meant is not None]
    for meant in options:
        if scene.things(meant) == (i,):
            return meant
    placed = [dataclasses.replace(meant, place=place) for meant in options for place in PLACES] if with_place else []
    return next((meant for meant in placed if scene.things(meant) == (i,)), None)


def _appearance(scene: Scene, split: str, rng: np.random.Generator) -> Description | None:
    for i in _shuffled(range(len(scene.world.things)), rng):
        for names in _shuffled(_SUBSETS, rng):
            meant = by_look(scene, i, names)
            if meant is not None and scene.things(meant) == (i,):
                return meant
    return None


def _motion(scene: Scene, split: str, rng: np.random.Generator) -> Description | None:
    """Looks that fit just the look-alikes, so that nothing about the others matters, and what only one of them does."""
    pair = scene.world.pair
    for i in _shuffled(pair or (), rng):
        looks = [by_look(scene, i, names) for names in _shuffled(((), *_SUBSETS), rng)]
        look = next(meant for meant in looks if meant is not None and scene.things(meant) == pair)
        for motion in _shuffled(TELLING, rng):
            meant = dataclasses.replace(look, motion=motion)
            if scene.things(meant) == (i,):
                return meant
    return None


def _relation(scene: Scene, split: str, rng: np.random.Generator) -> Description | None:
    """By another thing, or by place among equals; only where looks alone would not do."""
    count = len(scene.world.things)
    related = [
        (name, i, j)
        for name, table in scene.relations.items()
        for i in range(count)
        for j in range(count)
        if table[i][j]
    ]
    for name, i, j in _shuffled(related, rng):
        anchor = only(scene, j, rng, with_place=False)
        for names in _shuffled(((), *_WITH_SHAPE), rng) if anchor is not None else ():
            look = by_look(scene, i, names)
            if look is None or scene.things(look) == (i,):
                continue
            meant = dataclasses.replace(look, relation=name, anchor=anchor)
            if scene.things(meant) == (i,):
                return meant
    return _place(scene, rng)


def _place(scene: Scene, rng: np.random.Generator) -> Description | None:
    for i in _shuffled(range(len(scene.world.things)), rng):
        for names in _shuffled(_WITH_SHAPE, rng):
            look = by_look(scene, i, names)
            for place in _shuffled(PLACES, rng) if look is not None else ():
                meant = dataclasses.replace(look, place=place)
                if scene.things(meant) == (i,):
                    return meant
    return None


def _several(scene: Scene, split: str, rng: np.random.Generator) -> Description | None:
    for n in range(TRIES):
        i = choose(rng, range(len(scene.world.things)))
        look = by_look(scene, i, choose(rng, ((), *_SUBSETS)))
        if look is None:
            continue
        meant = dataclasses.replace(look, motion=choose(rng, _SHARED) if n % 2 else None)
        counted = _counted(scene, meant, rng) if meant != Description() else None
        if counted is not None:
            return counted
    for i in scene.world.pair or ():
        return _counted(scene, by_look(scene, i, _SUBSETS[-1]), rng)
    return None


def _counted(scene: Scene, meant: Description, rng: np.random.Generator) -> Description | None:
    things = scene.things(meant)
    if things is None or len(things) < 2:
        return None
    return dataclasses.replace(meant, plural=True, count=len(things) if rng.random() < 0.6 else None)


def _none(scene: Scene, split: str, rng: np.random.Generator) -> Description | None:
    """Nearly there: a thing of the scene with one word exchanged."""
    for _ in range(TRIES):
        i = choose(rng, range(len(scene.world.things)))
        meant = by_look(scene, i, choose(rng, _WITH_SHAPE))
        if meant is None:
            continue
        change = choose(rng, ("motion", "motion", "colour", "shape", "texture"))
        options = {"motion": _ABSENT, "colour": tuple(COLOURS), "shape": SHAPES, "texture": TEXTURES}[change]
        meant = dataclasses.replace(meant, **{change: choose(rng, options)})
        if scene.things(meant) == () and (split == "test" or not names_held_out(meant)):
            return meant
    return None


def names_held_out(meant: Description) -> bool:
    """Whether the words alone name a combination that is kept for the test split."""
    if meant.colour is None or meant.shape is None or CLASS_OF.get(meant.motion) is None:
        return False
    return held_out(meant.colour, meant.shape, meant.motion)


def _whens(scene: Scene, i: int) -> Iterator[str]:
    """What a thing does for a part of the clip only."""
    one = scene.tracks[i]
    drifts = i in (scene.world.pair or ())  # leaves on one side and comes back on the other
    if len(one.phases) > 1:
        yield from (kind for kind in ("still", *DIRECTIONS) if kind in one.kinds and span(scene, i, kind))
    elif not drifts and not scene.layers.seen[i].all() and span(scene, i, IN_VIEW):
        yield IN_VIEW


def _first_named(scene: Scene, candidates, rng: np.random.Generator):
    for i, when in candidates:
        meant = only(scene, i, rng)
        if meant is not None and span(scene, i, when) is not None:
            return i, when, meant
    return None


def _shuffled(options, rng: np.random.Generator) -> list:
    options = list(options)
    return [options[i] for i in np.argsort(rng.random(len(options)), kind="stable")]


_FIND = {"appearance": _appearance, "motion": _motion, "relation": _relation, "several": _several, "none": _none}
