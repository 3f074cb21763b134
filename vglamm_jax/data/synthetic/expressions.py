"""Which descriptions of a scene are worth saying: each true of exactly the things it means, and false of all others.

Five kinds: "appearance" (looks alone), "motion" (one of two look-alikes: looks fit both), "relation" (to another
thing, or a place among equals), "several" things, and "none": something that is not there.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from vglamm_jax.data.synthetic.language import FORMS, Speaker, referring
from vglamm_jax.data.synthetic.paths import choose
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


def expressions(scene: Scene, split: str, speaker: Speaker) -> tuple[Expression, ...]:
    """One of each kind in each form, as far as the scene has them. All five whenever there are three or more things."""
    out = []
    for kind in KINDS:
        for form in FORMS:
            meant = _FIND[kind](scene, split, speaker.rng)
            if meant is not None:
                out.append(Expression(kind, form, referring(meant, form, speaker), meant, scene.things(meant)))
    return tuple(out)


def by_look(scene: Scene, i: int, names: tuple[str, ...]) -> Description | None:
    """Some words of a thing's looks; None when it lacks one (a size)."""
    values = {name: getattr(scene.world.things[i].look, name) for name in names}
    return None if None in values.values() else Description(**values)


def _looks(scene: Scene, i: int, subsets, rng: np.random.Generator) -> Iterator[Description]:
    """A thing's looks in fewer or more words, in any order."""
    for names in shuffled(subsets, rng):
        meant = by_look(scene, i, names)
        if meant is not None:
            yield meant


def only(scene: Scene, i: int, rng: np.random.Generator, with_place: bool = True) -> Description | None:
    """A description of one thing by its looks, and its place among those that look alike if that is needed."""
    options = list(_looks(scene, i, _WITH_SHAPE, rng))
    for meant in options:
        if scene.things(meant) == (i,):
            return meant
    placed = [dataclasses.replace(meant, place=place) for meant in options for place in PLACES] if with_place else []
    return next((meant for meant in placed if scene.things(meant) == (i,)), None)


def _appearance(scene: Scene, split: str, rng: np.random.Generator) -> Description | None:
    for i in shuffled(range(len(scene.world.things)), rng):
        for meant in _looks(scene, i, _SUBSETS, rng):
            if scene.things(meant) == (i,):
                return meant
    return None


def _motion(scene: Scene, split: str, rng: np.random.Generator) -> Description | None:
    """Looks that fit just the look-alikes, so that nothing about the others matters, and what only one of them does."""
    pair = scene.world.pair
    for i in shuffled(pair or (), rng):
        look = next(meant for meant in _looks(scene, i, ((), *_SUBSETS), rng) if scene.things(meant) == pair)
        for motion in shuffled(TELLING, rng):
            meant = dataclasses.replace(look, motion=motion)
            if scene.things(meant) == (i,):
                return meant
    return None


def _relation(scene: Scene, split: str, rng: np.random.Generator) -> Description | None:
    """By another thing, or by place among equals; only where looks alone would not do."""
    things = range(len(scene.world.things))
    for name in shuffled(scene.relations, rng):
        table = scene.relations[name]
        for i, j in shuffled([(i, j) for i in things for j in things if table[i][j]], rng):
            anchor = only(scene, j, rng, with_place=False)
            for look in _looks(scene, i, ((), *_WITH_SHAPE), rng) if anchor is not None else ():
                meant = dataclasses.replace(look, relation=name, anchor=anchor)
                if scene.things(meant) == (i,) != scene.things(look):
                    return meant
    return _place(scene, rng)


def _place(scene: Scene, rng: np.random.Generator) -> Description | None:
    for i in shuffled(range(len(scene.world.things)), rng):
        for look in _looks(scene, i, _WITH_SHAPE, rng):
            for place in shuffled(PLACES, rng):
                meant = dataclasses.replace(look, place=place)
                if scene.things(meant) == (i,):
                    return meant
    return None


def _several(scene: Scene, split: str, rng: np.random.Generator) -> Description | None:
    """By looks alone, or by what they do or where they are, too."""
    additions = [[{}], _shared_motions(scene), _shared_relations(scene, rng)]
    for options in shuffled(additions, rng):
        for added in shuffled(options, rng)[:6]:
            for _ in range(TRIES):
                look = by_look(scene, choose(rng, range(len(scene.world.things))), choose(rng, ((), *_SUBSETS)))
                if look is not None and (added or look != Description()):
                    meant = _counted(scene, dataclasses.replace(look, **added), rng)
                    if meant is not None:
                        return meant
    return None


def _shared_motions(scene: Scene) -> list[dict]:
    """Motions that two or more things show; "move", which is nearly always one, only where there is no other."""
    shared = [motion for motion in _SHARED if sum(does[motion] is True for does in scene.does) > 1]
    return [{"motion": motion} for motion in shared if motion != "move" or len(shared) == 1]


def _shared_relations(scene: Scene, rng: np.random.Generator) -> list[dict]:
    """Relations that two or more things have to one."""
    out = []
    for name, table in scene.relations.items():
        for j in range(len(table)):
            anchor = only(scene, j, rng, with_place=False) if sum(row[j] is True for row in table) > 1 else None
            if anchor is not None:
                out.append({"relation": name, "anchor": anchor})
    return out


def _counted(scene: Scene, meant: Description, rng: np.random.Generator) -> Description | None:
    things = scene.things(meant)
    if things is None or len(things) < 2:
        return None
    return dataclasses.replace(meant, plural=True, count=len(things) if rng.random() < 0.6 else None)


def _none(scene: Scene, split: str, rng: np.random.Generator) -> Description | None:
    """Nearly there: a thing of the scene with one word exchanged, or where it is not."""
    things = range(len(scene.world.things))
    options = {"motion": _ABSENT, "colour": tuple(COLOURS), "shape": SHAPES, "texture": TEXTURES}
    for _ in range(TRIES):
        meant = by_look(scene, choose(rng, things), choose(rng, _WITH_SHAPE))
        change = choose(rng, ("motion", "motion", "relation", *options))
        if meant is None:
            continue
        if change == "relation":
            anchor = only(scene, choose(rng, things), rng, with_place=False)
            name = choose(rng, tuple(scene.relations))
            meant = dataclasses.replace(meant, relation=name, anchor=anchor) if anchor is not None else meant
        else:
            meant = dataclasses.replace(meant, **{change: choose(rng, options[change])})
        if scene.things(meant) == () and (split == "test" or not names_held_out(meant)):
            return meant
    return None


def names_held_out(meant: Description) -> bool:
    """Whether the words alone name a combination that is kept for the test split."""
    if meant.colour is None or meant.shape is None or CLASS_OF.get(meant.motion) is None:
        return False
    return held_out(meant.colour, meant.shape, meant.motion)


def shuffled(options, rng: np.random.Generator) -> list:
    """In an order that depends on raw bits only."""
    options = list(options)
    return [options[i] for i in np.argsort(rng.random(len(options)), kind="stable")]


_FIND = {"appearance": _appearance, "motion": _motion, "relation": _relation, "several": _several, "none": _none}
