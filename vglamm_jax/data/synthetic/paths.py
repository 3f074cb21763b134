"""Where a thing is at any time: closed forms over u in [0, 1], so that clips of any length show the same motion.

All sizes are in pixels, x to the right and y down; angles in radians, positive clockwise as seen.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from vglamm_jax.data.synthetic.vocabulary import DIRECTIONS, SIDES, SIZES

STEPS = 96  # intervals of the dense track from which motion is measured
SPEEDS = {"fast": (0.62, 0.7), "slow": (0.2, 0.3), "": (0.4, 0.6)}  # shorter sides in a clip
NOT_ROTATING = ("circle", "ring")

Curve = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Path:
    """Functions of time u [N]: centre [N, 2], radius [N], angle [N]."""

    centre: Curve
    radius: Curve
    angle: Curve


def constant(value: float) -> Curve:
    return lambda u: np.full(len(u), value)


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """Uniform, from raw bits only (`uniform` may change between versions of numpy, `random` does not)."""
    return low + (high - low) * float(rng.random())


def choose(rng: np.random.Generator, options):
    """One of a sequence, all equally likely."""
    return options[min(int(rng.random() * len(options)), len(options) - 1)]


def free_path(motion: str, radius: float, angle: float, size: tuple[int, int], rng: np.random.Generator) -> Path:
    """A path on which the motion is plain to see, somewhere inside the frame of `size` (height, width)."""
    side = min(size)
    if motion in ("grow", "shrink"):
        low, high = between(rng, *SIZES["small"]) * side, between(rng, *SIZES["large"]) * side
        first, last = (low, high) if motion == "grow" else (high, low)
        centre = _placed(lambda u: np.zeros((len(u), 2)), high, size, rng)
        return Path(centre, lambda u: first + (last - first) * u, constant(angle))
    if motion == "spin":
        turn = between(rng, 3.6, 5.2) * choose(rng, (-1, 1))
        centre = _placed(lambda u: np.zeros((len(u), 2)), radius, size, rng)
        return Path(centre, constant(radius), lambda u: angle + turn * u)
    return Path(_centre(motion, radius, size, rng), constant(radius), constant(angle))


def _centre(motion: str, radius: float, size: tuple[int, int], rng: np.random.Generator) -> Curve:
    kind, _, rest = motion.partition(" ")
    if kind == "enter":
        return _crossing(SIDES[rest], False, radius, size, rng)
    if kind == "leave":
        return _crossing(_towards(rest), True, radius, size, rng)
    if kind == "bounce":
        return _bouncing(radius, size, rng)
    return _placed(_offsets(kind, rest, min(size), rng), radius, size, rng)


def _towards(side: str) -> str:
    return {"left": "left", "right": "right", "top": "up", "bottom": "down"}[side]


def _offsets(kind: str, rest: str, side: int, rng: np.random.Generator) -> Curve:
    """Displacement from a point yet to be chosen."""
    if kind == "circle":
        turn = between(rng, 1.05, 1.4) * 2 * math.pi * (1 if rest == "clockwise" else -1)
        reach, start = between(rng, 0.13, 0.2) * side, between(rng, 0, 2 * math.pi)
        return lambda u: reach * np.stack([np.cos(start + turn * u), np.sin(start + turn * u)], axis=-1)
    if kind == "swing":
        axis = np.array([1, 0] if rest == "sideways" else [0, 1])
        reach, legs, start = between(rng, 0.25, 0.4) * side, between(rng, 2.3, 3.0), between(rng, 0, 2)
        return lambda u: axis * (reach * fold(start + legs * u, 1.0))[:, None]
    if kind == "still":
        return lambda u: np.zeros((len(u), 2))
    return _legs(kind.split(">"), rest, side, rng)


def _legs(parts: list[str], pace: str, side: int, rng: np.random.Generator) -> Curve:
    """Straight, or one leg after the other."""
    if len(parts) == 1:
        knots, reach = [0.0, 1.0], between(rng, *SPEEDS[pace])
    else:
        knots, reach = [0.0, between(rng, 0.42, 0.58), 1.0], between(rng, 0.3, 0.45)
    points = [np.zeros(2)]
    for part in parts:
        points.append(points[-1] + reach * side * np.array(DIRECTIONS.get(part, (0, 0))))
    xs, ys = np.stack(points, axis=-1)
    return lambda u: np.stack([np.interp(u, knots, xs), np.interp(u, knots, ys)], axis=-1)


def _placed(offsets: Curve, radius: float, size: tuple[int, int], rng: np.random.Generator) -> Curve:
    """Anywhere such that the whole path stays inside the frame."""
    path = offsets(np.linspace(0, 1, STEPS + 1))
    low, high = radius - path.min(0), np.array(size[::-1]) - radius - path.max(0)
    middle = (low + high) / 2
    low, high = np.minimum(low, middle), np.maximum(high, middle)
    start = low + (high - low) * np.array([rng.random(), rng.random()])
    return lambda u: start + offsets(u)


def _crossing(direction: str, leaving: bool, radius: float, size: tuple[int, int], rng: np.random.Generator) -> Curve:
    """Comes in from beyond the edge, or goes out over it."""
    axis = 0 if direction in ("right", "left") else 1
    length, across = size[1 - axis], size[axis]
    wait, speed = between(rng, 0.15, 0.3), between(rng, 0.75, 0.95) * length
    lane = between(rng, radius, across - radius)
    outside = 1.1 * radius + 1

    def centre(u):
        travelled = speed * ((1 - u if leaving else u) - wait) - outside
        backwards = (direction in ("left", "up")) != leaving
        along = length - travelled if backwards else travelled
        other = np.full(len(u), lane)
        return np.stack([along, other] if axis == 0 else [other, along], axis=-1)

    return centre


def _bouncing(radius: float, size: tuple[int, int], rng: np.random.Generator) -> Curve:
    """Straight and slanted, thrown back by at least one edge."""
    room = np.array(size[::-1]) - 2 * radius
    slope = between(rng, 0.55, 1.8)
    speed = np.array([slope, 1 / slope]) ** 0.5 * between(rng, 0.75, 1.0) * min(size)
    # The first bounce comes between a quarter and three quarters of the clip, at a wall met straight on.
    axis, when = choose(rng, (0, 1)), between(rng, 0.3, 0.7)
    start = np.array([between(rng, 0, 2), between(rng, 0, 2)]) * room
    start[axis] = choose(rng, (1, 2)) * room[axis] - when * speed[axis]
    return lambda u: radius + np.stack([fold(start[i] + speed[i] * u, room[i]) for i in (0, 1)], axis=-1)


def fold(x: np.ndarray, length: float) -> np.ndarray:
    """A straight line folded into [0, length] as by two mirrors."""
    x = np.mod(x, 2 * length)
    return np.minimum(x, 2 * length - x)
