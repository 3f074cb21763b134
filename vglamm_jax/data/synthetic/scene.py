"""Descriptions of things, and which things of a world they are true of.

A `Description` is what a referring expression means. `Scene.satisfies` decides for every thing from the state of the
world alone: looks, measured motion, places and covering. Nothing here knows how texts are made.
"""

import dataclasses
import functools

import numpy as np

from vglamm_jax.data.synthetic.measure import Track, Verdict, track, verdicts
from vglamm_jax.data.synthetic.silhouettes import Layers
from vglamm_jax.data.synthetic.world import World

BESIDE = ("left of", "right of", "above", "below")
COVERING = ("in front of", "behind")
PLACES = ("leftmost", "rightmost", "topmost", "lowest")
APART = 0.08  # shorter sides between centres, for one to be beside or beyond the other
COVERED = 0.06  # of the farther thing's pixels, in some frame, for one to be in front of the other

_AXIS = {"left of": (0, 1), "right of": (0, -1), "above": (1, 1), "below": (1, -1)}
_AXIS |= {"leftmost": (0, 1), "rightmost": (0, -1), "topmost": (1, 1), "lowest": (1, -1)}


@dataclasses.dataclass(frozen=True)
class Description:
    """None says nothing. `count` and `plural` belong to the wording: "the two circles", "all circles".

    Attributes:
        motion: a word of `vocabulary.MOTIONS`.
        relation: how it is to `anchor`, of `BESIDE` or `COVERING`.
        place: of `PLACES`, among those that fit the rest.
    """

    colour: str | None = None
    shape: str | None = None
    texture: str | None = None
    size: str | None = None
    motion: str | None = None
    relation: str | None = None
    anchor: "Description | None" = None
    place: str | None = None
    count: int | None = None
    plural: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    world: World
    layers: Layers

    @functools.cached_property
    def tracks(self) -> tuple[Track, ...]:
        size = self.world.settings.size
        return tuple(track(thing, seen, size) for thing, seen in zip(self.world.things, self.layers.seen))

    @functools.cached_property
    def does(self) -> tuple[dict[str, Verdict], ...]:
        return tuple(verdicts(one) for one in self.tracks)

    @functools.cached_property
    def covered(self) -> np.ndarray:
        """float [N, N]: the largest part of thing j's pixels, over frames, that thing i lies in front of."""
        return _covered(self.layers, self.world.settings.size)

    @functools.cached_property
    def relations(self) -> dict[str, list[list[Verdict]]]:
        """relations[relation][i][j]: is thing i so to thing j?"""
        things = range(len(self.world.things))
        out = {name: [[i != j and self._beside(i, j, name) for j in things] for i in things] for name in BESIDE}
        return out | {
            name: [[i != j and self._covering(i, j, name) for j in things] for i in things] for name in COVERING
        }

    def satisfies(self, description: Description) -> list[Verdict]:
        """For every thing: does the description fit it?"""
        fits = [self._fits(i, description) for i in range(len(self.world.things))]
        if description.relation:
            fits = [_both(fit, near) for fit, near in zip(fits, self._related(description))]
        if description.place:
            fits = self._extreme(description.place, fits)
        return fits

    def things(self, description: Description) -> tuple[int, ...] | None:
        """The things meant, or None when one could argue about any."""
        fits = self.satisfies(description)
        return None if None in fits else tuple(i for i, fit in enumerate(fits) if fit)

    def _fits(self, i: int, wanted: Description) -> Verdict:
        look, fit = self.world.things[i].look, True
        for name in ("colour", "shape", "texture"):
            if getattr(wanted, name) not in (None, getattr(look, name)):
                return False
        if wanted.size:
            fit = None if look.size is None else look.size == wanted.size
        return _both(fit, self.does[i][wanted.motion]) if wanted.motion else fit

    def _related(self, wanted: Description) -> list[Verdict]:
        anchors = self.things(wanted.anchor)
        if anchors is None or len(anchors) != 1:
            return [None] * len(self.world.things)
        return [row[anchors[0]] for row in self.relations[wanted.relation]]

    def _beside(self, i: int, anchor: int, relation: str) -> Verdict:
        """Always beside it when both are seen, and not far off the line: True. Never: False."""
        apart = self._apart(i, anchor)
        if not len(apart):
            return None
        axis, sign = _AXIS[relation]
        along, across = sign * apart[:, axis], np.abs(apart[:, 1 - axis])
        if (along >= np.maximum(APART, across / 1.5)).all():
            return True
        return False if (along <= 0).all() else None

    def _covering(self, i: int, anchor: int, relation: str) -> Verdict:
        near, far = (i, anchor) if relation == "in front of" else (anchor, i)
        share = self.covered[near, far]
        return True if share >= COVERED else False if share == 0 else None

    def _extreme(self, place: str, fits: list[Verdict]) -> list[Verdict]:
        """The one farthest out of those that fit, in every frame in which two are seen."""
        if None in fits or sum(fits) < 2:
            return [None if fit is not False else False for fit in fits]
        group = [i for i, fit in enumerate(fits) if fit]
        axis, sign = _AXIS[place]
        out = list(fits)
        for i in group:
            gaps = [sign * self._apart(i, j)[:, axis] for j in group if j != i]
            if all(len(gap) and (gap >= APART).all() for gap in gaps):
                out[i] = True
            else:
                out[i] = False if any(len(gap) and (gap <= -APART).all() for gap in gaps) else None
        return out

    def _apart(self, i: int, j: int) -> np.ndarray:
        """From thing i to thing j in the frames that show both, [frames, 2] in shorter sides."""
        a, b = (self.layers.silhouettes[k].centre for k in (i, j))
        both = self.layers.seen[i] & self.layers.seen[j]
        return (b - a)[both] / min(self.world.settings.size)


def _both(a: Verdict, b: Verdict) -> Verdict:
    if a is False or b is False:
        return False
    return None if a is None or b is None else True


def _covered(layers: Layers, size: tuple[int, int]) -> np.ndarray:
    drawn = layers.silhouettes
    out = np.zeros((len(drawn), len(drawn)))
    for far in range(len(drawn)):
        for near in range(far + 1, len(drawn)):
            distance = np.sqrt(((drawn[far].centre - drawn[near].centre) ** 2).sum(1))
            for t in np.flatnonzero(distance < drawn[far].radius + drawn[near].radius):
                pixels = _overlap(drawn[far], drawn[near], t, size)
                out[near, far] = max(out[near, far], pixels / max(1, layers.whole[far, t]))
    return out


def _overlap(a, b, frame: int, size: tuple[int, int]) -> int:
    """Pixels of the frame that both silhouettes cover."""
    (x, y), (u, v) = a.corner[frame], b.corner[frame]
    left, top = max(x, u, 0), max(y, v, 0)
    right, bottom = (
        min(x + a.depth.shape[2], u + b.depth.shape[2], size[1]),
        min(y + a.depth.shape[1], v + b.depth.shape[1], size[0]),
    )
    if left >= right or top >= bottom:
        return 0
    first = a.depth[frame, top - y : bottom - y, left - x : right - x] >= 0
    second = b.depth[frame, top - v : bottom - v, left - u : right - u] >= 0
    return int((first & second).sum())
