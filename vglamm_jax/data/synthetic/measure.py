"""What a thing is seen to do, measured from where it is and when it is seen, not from what it was made to do.

Every answer is True, False, or None for "one could argue": texts are only made of what is True of the things they mean
and False of all others. Places are relative to the scene, i.e. without the camera's shift of a pixel or two.
"""

import dataclasses
import functools
import itertools

import numpy as np

from vglamm_jax.data.synthetic.paths import STEPS
from vglamm_jax.data.synthetic.vocabulary import DIRECTIONS, MOTIONS, OPPOSITE, SIDES
from vglamm_jax.data.synthetic.world import Thing

RESTING = 0.04  # shorter sides a clip: slower than this is standing still
STRAIGHT = 4.0  # a direction has its name when it is this much steeper or flatter than the diagonal
GLIMPSE = 4  # steps; what lasts shorter is the passage from one phase to the next
PHASE = 12  # steps a phase must last to be spoken of
ENOUGH = 40  # steps a thing must be seen to say what it does
FAST, SLOW = 0.58, 0.36  # shorter sides a clip
TURNED = 5.2  # radians, of a circle

Verdict = bool | None


@dataclasses.dataclass(frozen=True)
class Phase:
    """Dense steps [start, stop) in which a thing stands "still", goes in a direction, or moves in an "other" way."""

    kind: str
    start: int
    stop: int


@dataclasses.dataclass(frozen=True)
class Track:
    """What was measured of one thing; lengths in shorter sides of the frame."""

    phases: tuple[Phase, ...]
    steps: int  # in which it was seen
    speed: float  # sides a clip, over the moving steps
    growth: float  # last radius / first radius
    spin: float  # radians
    turn: float  # radians by which the direction changed, signed, clockwise positive
    thrown_back: int  # reflections at the frame's edges while slanted
    enters: str | None  # side
    leaves: str | None
    always_in_view: bool

    @functools.cached_property
    def kinds(self) -> tuple[str, ...]:
        return tuple(phase.kind for phase in self.phases)


def track(thing: Thing, seen: np.ndarray, size: tuple[int, int]) -> Track:
    """Measures a thing. `seen` bool [T] says in which frames it is visible, `size` is (height, width)."""
    u = np.linspace(0, 1, STEPS + 1)
    centre, radius, angle = thing.path.centre(u), thing.path.radius(u), thing.path.angle(u)
    known = seen[np.rint(u * (len(seen) - 1)).astype(int)]
    step = np.diff(centre, axis=0)
    valid = known[1:] & known[:-1] & (np.abs(step).max(1) < 0.4 * min(size))  # a jump is a wrap beyond the edges
    velocity = step * STEPS / min(size)
    speed = np.sqrt((velocity**2).sum(1))
    moving = valid & (speed > RESTING)
    visible = np.flatnonzero(known)
    outside = ((centre + radius[:, None] < 0) | (centre - radius[:, None] > np.array(size[::-1]))).any(1)
    return Track(
        phases=_phases(velocity, speed, valid),
        steps=int(valid.sum()),
        speed=float(speed[moving].mean()) if moving.any() else 0.0,
        growth=float(radius[visible[-1]] / radius[visible[0]]) if len(visible) else 1.0,
        spin=float(np.abs(np.diff(angle))[valid].sum()),
        turn=_turning(velocity, moving),
        thrown_back=_reflections(centre, velocity, moving, radius, size),
        enters=_side(centre, radius, size) if outside[0] and not outside[-1] else None,
        leaves=_side(centre[::-1], radius[::-1], size) if outside[-1] and not outside[0] else None,
        always_in_view=not outside.any(),
    )


def _phases(velocity: np.ndarray, speed: np.ndarray, valid: np.ndarray) -> tuple[Phase, ...]:
    x, y = velocity.T
    kinds = np.full(len(speed), "other", dtype=object)
    kinds[np.abs(x) >= STRAIGHT * np.abs(y)] = "sideways"
    kinds[np.abs(y) >= STRAIGHT * np.abs(x)] = "upright"
    kinds[(kinds == "sideways")] = np.where(x[kinds == "sideways"] > 0, "right", "left")
    kinds[(kinds == "upright")] = np.where(y[kinds == "upright"] > 0, "down", "up")
    kinds[speed <= RESTING] = "still"
    runs, merged = [], []
    for kind, group in itertools.groupby(np.flatnonzero(valid), key=lambda i: kinds[i]):
        group = list(group)
        runs.append(Phase(kind, int(group[0]), int(group[-1]) + 1))
    for run in (run for run in runs if run.stop - run.start >= GLIMPSE):
        if merged and merged[-1].kind == run.kind:
            merged[-1] = Phase(run.kind, merged[-1].start, run.stop)
        else:
            merged.append(run)
    return tuple(merged)


def _turning(velocity: np.ndarray, moving: np.ndarray) -> float:
    both = moving[1:] & moving[:-1]
    a, b = velocity[:-1][both], velocity[1:][both]
    turns = np.arctan2(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0], (a * b).sum(1))
    return float(turns[np.abs(turns) < 0.5].sum())  # a corner is no curve


def _reflections(centre, velocity, moving, radius, size: tuple[int, int]) -> int:
    """Sign changes of one part of the velocity next to an edge, while the other part goes on."""
    count = 0
    for axis in (0, 1):
        along, across = velocity[:, axis], velocity[:, 1 - axis]
        flips = moving[2:] & moving[:-2] & (along[2:] * along[:-2] < 0) & (across[2:] * across[:-2] > 0)
        slanted = (np.abs(across[2:]) > 0.3 * np.abs(along[2:])) & (np.abs(across[2:]) < 3.3 * np.abs(along[2:]))
        place = centre[1:-2, axis]
        edge = radius[1:-2] + 0.06 * min(size)
        near = (place < edge) | (place > size[1 - axis] - edge)
        hits = np.flatnonzero(flips & slanted & near)
        count += int((np.diff(hits, prepend=-9) > 2).sum())
    return count


def _side(centre: np.ndarray, radius: np.ndarray, size: tuple[int, int]) -> str:
    """Beyond which edge the first point lies."""
    x, y = centre[0]
    beyond = {"left": -x, "right": x - size[1], "top": -y, "bottom": y - size[0]}
    return max(beyond, key=beyond.get)


def verdicts(one: Track) -> dict[str, Verdict]:
    """Of every motion of the vocabulary: does the thing do that?"""
    if one.steps < ENOUGH:
        return dict.fromkeys(MOTIONS)
    out = {motion: _legs(one, motion.split(">")) for motion in MOTIONS if ">" in motion}
    out["still"] = _only(one, "still")
    if out["still"] and (one.growth > 1.15 or one.growth < 0.87 or one.spin > 0.35):
        out["still"] = None
    out["move"] = _moves(one)
    for direction in DIRECTIONS:
        out[direction] = _only(one, direction)
        fast, slow = one.speed >= FAST, one.speed <= SLOW
        out[f"{direction} fast"] = out[direction] and (fast or (False if slow else None))
        out[f"{direction} slow"] = out[direction] and (slow or (False if fast else None))
    out |= _pauses(one) | _swings(one) | _curves(one)
    out["grow"] = _beyond(one.growth, 1.15, 1.4)
    out["shrink"] = _beyond(1 / one.growth, 1.15, 1.4)
    out["spin"] = _beyond(one.spin, 0.35, 2.0)
    for side in SIDES:
        out[f"enter {side}"] = one.enters == side if one.enters or one.always_in_view else None
        out[f"leave {side}"] = one.leaves == side if one.leaves or one.always_in_view else None
    return out


def _beyond(value: float, no: float, yes: float) -> Verdict:
    return True if value >= yes else False if value <= no else None


def _only(one: Track, kind: str) -> Verdict:
    if one.kinds == (kind,):
        return True
    return None if kind in one.kinds or "other" in one.kinds or not one.kinds else False


def _moves(one: Track) -> Verdict:
    if "still" not in one.kinds:
        return True
    idle = one.kinds == ("still",) and 0.87 < one.growth < 1.15 and one.spin < 0.35
    return False if idle else None


def _legs(one: Track, legs: list[str]) -> Verdict:
    """First this, then that, and nothing else."""
    if list(one.kinds) == legs:
        return True if all(phase.stop - phase.start >= PHASE for phase in one.phases) else None
    return None if "other" in one.kinds or set(legs) <= set(one.kinds) else False


def _pauses(one: Track) -> dict[str, Verdict]:
    kinds, out = one.kinds, {}
    long_enough = _lasts(one, still=True) and _lasts(one, still=False)
    for name, place in (("stop", -1), ("start", 0)):
        once = kinds.count("still") == 1
        other_end = once and kinds[place] != "still" and kinds[-1 - place] == "still"
        if "still" not in kinds or other_end or kinds == ("still",):
            out[name] = False
        else:
            out[name] = True if once and kinds[place] == "still" and long_enough else None
    return out


def _lasts(one: Track, still: bool) -> bool:
    return sum(phase.stop - phase.start for phase in one.phases if (phase.kind == "still") == still) >= PHASE


def _swings(one: Track) -> dict[str, Verdict]:
    out = {}
    for name, ways in (("sideways", {"left", "right"}), ("upright", {"up", "down"})):
        turns = sum(b == OPPOSITE.get(a) and a in ways for a, b in itertools.pairwise(one.kinds))
        if turns >= 2 and set(one.kinds) == ways:
            out[f"swing {name}"] = True
        else:
            out[f"swing {name}"] = None if "other" in one.kinds or ways <= set(one.kinds) else False
    return out


def _curves(one: Track) -> dict[str, Verdict]:
    straight = "other" not in one.kinds and len(set(one.kinds)) < 3
    out: dict[str, Verdict] = {"bounce": True if one.thrown_back else (False if straight else None)}
    for name, sign in (("clockwise", 1), ("counterclockwise", -1)):
        out[f"circle {name}"] = _beyond(sign * one.turn, 0.5, TURNED)
    if straight:
        out["circle clockwise"] = out["circle counterclockwise"] = False
    elif one.thrown_back:
        out["circle clockwise"] = out["circle counterclockwise"] = None
    if abs(one.turn) >= TURNED and not one.thrown_back:
        out["bounce"] = False
    if ("left" in one.kinds and "right" in one.kinds) or ("up" in one.kinds and "down" in one.kinds):
        out["bounce"] = out["bounce"] or (False if abs(one.turn) >= TURNED else None)
    return out
