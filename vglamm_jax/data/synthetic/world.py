"""What is in a clip and what it does; no pixels, no words.

Order of the draws, on which the look-alikes' secret depends (see `lookalikes`): first the pair, then everything else,
which may look at the pair's lanes and size but never at its paths. What passes in front of the pair is smaller than
it; what passes behind is larger, or outside the lanes for most of the time. Whatever would be hidden too long wherever
the two are, or by a third thing, is drawn again; the pair never is.
"""

import dataclasses

import numpy as np

from vglamm_jax.data.synthetic.lookalikes import Pair, draw_pair
from vglamm_jax.data.synthetic.paths import NOT_ROTATING, STEPS, Path, between, choose, free_path
from vglamm_jax.data.synthetic.vocabulary import (
    CLASSES,
    COLOURS,
    RETURNS,
    SHAPES,
    SIDEWAYS,
    SIZES,
    SPLITS,
    STARTS,
    STOPS,
    TEXTURES,
    TURNS,
    UPRIGHT,
    Look,
    classes_for,
)

ATTEMPTS = 60
# Motions of several phases: the first thing besides the pair has one, so that there is something to locate in time.
EVENTFUL = {
    "sideways": ("enter left", "enter right", "leave left", "leave right"),
    "upright": ("enter top", "enter bottom", "leave top", "leave bottom"),
    "pausing": (*STOPS, *STARTS, *RETURNS),
    "curved": TURNS,
}
_FREE = {  # kinds of motion equally likely, however many directions each has
    "sideways": (SIDEWAYS, CLASSES["sideways"][2:6], EVENTFUL["sideways"]),
    "upright": (UPRIGHT, CLASSES["upright"][2:6], EVENTFUL["upright"]),
    "pausing": (("still",), (*STOPS, *STARTS), RETURNS, ("swing sideways", "swing upright")),
    "curved": (TURNS, ("bounce",), ("circle clockwise", "circle counterclockwise"), ("spin",), ("grow", "shrink")),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Sizes and difficulty of Moving Things.

    Attributes:
        height, width, frames: of a clip; any, from 32 pixels and 4 frames on (16 show all motions well).
        fps: frames per second that time spans and exported files refer to.
        things: fewest and most things in a clip, 2 to 6.
        noise: grey levels, standard deviation in the noisiest clips.
        shake: largest shift of the camera, in shorter sides of the frame.
        max_phrases: most things a caption names (the original supervises 4 masks a conversation).
        wording: which phrasings are used: "train", "held-out" (none of them occurs in "train"), or "both".
    """

    height: int = 96
    width: int = 96
    frames: int = 16
    fps: float = 8.0
    things: tuple[int, int] = (2, 6)
    noise: float = 6.0
    shake: float = 0.012
    max_phrases: int = 4
    wording: str = "train"

    def __post_init__(self):
        if min(self.height, self.width) < 32 or self.frames < 4:
            raise ValueError(f"Moving Things needs 32 x 32 pixels and 4 frames, got {self.size}, {self.frames} frames")
        if not 2 <= self.things[0] <= self.things[1] <= 6:
            raise ValueError(f"Moving Things has 2 to 6 things in a clip, got {self.things}")
        if self.wording not in ("train", "held-out", "both"):
            raise ValueError(f"wording must be train, held-out or both, got {self.wording!r}")
        if self.fps <= 0 or self.max_phrases < 1 or self.noise < 0 or not 0 <= self.shake <= 0.02:
            raise ValueError("fps and max_phrases must be above 0, noise not below 0, shake between 0 and 0.02")

    @property
    def size(self) -> tuple[int, int]:
        return self.height, self.width


@dataclasses.dataclass(frozen=True)
class Thing:
    look: Look
    motion: str  # what it was made to do; truth is measured from the path
    path: Path
    texture_phase: float


@dataclasses.dataclass(frozen=True)
class World:
    """`things` from the farthest to the nearest; `pair` are the places of the look-alikes in it, if there are any."""

    settings: Settings
    things: tuple[Thing, ...]
    camera: np.ndarray  # int [frames, 2], shift (x, y) of everything as seen
    pair: tuple[int, int] | None = None
    twins: Pair | None = None

    @property
    def times(self) -> np.ndarray:
        return np.linspace(0, 1, self.settings.frames)


def generator(split: str, seed: int, index: int, stream: int) -> np.random.Generator:
    """The randomness of one aspect of one clip. Same numbers on every machine.

    Raises:
        ValueError: an unknown split, or a negative seed or index.
    """
    if split not in SPLITS or seed < 0 or index < 0:
        raise ValueError(f"need a split of {', '.join(SPLITS)} and seed, index >= 0; got {split!r}, {seed}, {index}")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([SPLITS.index(split), seed, index, stream])))


def draw_world(split: str, seed: int, index: int, settings: Settings = Settings()) -> World:
    """The world of a clip. It has look-alikes, except for a quarter of the worlds of two things."""
    rng = generator(split, seed, index, 0)
    low, high = settings.things
    count = low + min(int(rng.random() * (high - low + 1)), high - low)
    camera = _camera(settings, rng)
    if count == 2 and rng.random() < 0.25:
        things = _crowd([], 2, split, settings, rng)
        return World(settings, tuple(things), camera)
    twins, pair = _twins(split, settings, rng)
    behind, front = _others(split, twins, pair, count - 2, settings, rng)
    places = (len(behind), len(behind) + 1)
    return World(settings, (*behind, *pair, *front), camera, places, twins)


def with_swapped_pair(world: World, frame: int) -> World:
    """The world in which the look-alikes have exchanged motions but stand as they do in this frame."""
    twins = world.twins.swapped(world.times[frame])
    things = list(world.things)
    for place, member, path in zip(world.pair, twins.members, twins.paths()):
        things[place] = dataclasses.replace(things[place], motion=member.motion, path=path)
    return dataclasses.replace(world, things=tuple(things), twins=twins)


def _camera(settings: Settings, rng: np.random.Generator) -> np.ndarray:
    """Whole pixels, slowly wandering; still in a third of the clips."""
    reach = settings.shake * min(settings.size) * (rng.random() < 2 / 3)
    knots = (rng.random((2, 6)) * 2 - 1) * reach
    u = np.linspace(0, 1, settings.frames)
    return np.stack([np.rint(np.interp(u, np.linspace(0, 1, 6), k)) for k in knots], axis=-1).astype(np.int64)


def _twins(split: str, settings: Settings, rng: np.random.Generator) -> tuple[Pair, list[Thing]]:
    look = Look(*(choose(rng, options) for options in (tuple(COLOURS), SHAPES, TEXTURES, tuple(SIZES))))
    radius = between(rng, *SIZES[look.size]) * min(settings.size)
    class_name = choose(rng, classes_for(split, look.colour, look.shape))
    twins = draw_pair(class_name, radius, between(rng, -0.35, 0.35), settings.size, rng)
    phase = float(rng.random())
    things = [Thing(look, member.motion, path, phase) for member, path in zip(twins.members, twins.paths())]
    return twins, things


def _others(split: str, twins: Pair, pair: list[Thing], count: int, settings: Settings, rng: np.random.Generator):
    """Things behind and in front of the look-alikes; in front at most one, if it is small and they are large."""
    behind: list[Thing] = []
    front: list[Thing] = []
    for n in range(count):
        may_be_front = pair[0].look.size == "large" and not front
        for attempt in range(ATTEMPTS):
            thing = _draw(split, [*pair, *behind, *front], n == 0, settings, rng)
            radius = thing.path.radius(np.array([0.0, 1.0]))
            in_front = may_be_front and radius.max() < 0.7 * twins.radius and rng.random() < 0.7
            outside = _outside_lanes(thing, twins) if attempt < ATTEMPTS - 1 else 1.0
            if in_front or radius.min() > 1.35 * twins.radius or outside > 0.55:
                trial = [*([] if in_front else [thing]), *behind, *front, *([thing] if in_front else [])]
                if attempt == ATTEMPTS - 1 or _all_in_sight(trial, settings):
                    (front if in_front else behind).insert(0, thing)
                    break
    return behind, front


def _crowd(things: list[Thing], count: int, split: str, settings: Settings, rng: np.random.Generator) -> list[Thing]:
    for n in range(count):
        for attempt in range(ATTEMPTS):
            thing = _draw(split, things, n == 0, settings, rng)
            if _all_in_sight([thing, *things], settings) or attempt == ATTEMPTS - 1:
                things = [thing, *things]
                break
    return things


def _draw(split: str, others: list[Thing], eventful: bool, settings: Settings, rng: np.random.Generator) -> Thing:
    """A thing that looks unlike all others, but often shares its colour or its shape with one of them."""
    looks = [other.look for other in others]
    while True:
        colour, shape = choose(rng, tuple(COLOURS)), choose(rng, SHAPES)
        if looks and rng.random() < 0.5:
            like = choose(rng, looks)
            colour, shape = choose(rng, ((like.colour, shape), (colour, like.shape), (like.colour, like.shape)))
        class_name = choose(rng, classes_for(split, colour, shape))
        motion = choose(rng, EVENTFUL[class_name] if eventful else choose(rng, _FREE[class_name]))
        size = None if motion in ("grow", "shrink") else choose(rng, tuple(SIZES))
        look = Look(colour, shape, choose(rng, TEXTURES), size)
        if (motion == "spin" and shape in NOT_ROTATING) or not all(_distinct(look, other) for other in looks):
            continue
        radius = between(rng, *SIZES[size or "small"]) * min(settings.size)
        path = free_path(motion, radius, between(rng, -0.35, 0.35), settings.size, rng)
        return Thing(look, motion, path, float(rng.random()))


def _distinct(a: Look, b: Look) -> bool:
    """Whether words for colour, shape, texture, or two definite sizes, tell them apart."""
    sizes_differ = a.size is not None and b.size is not None and a.size != b.size
    return (a.colour, a.shape, a.texture) != (b.colour, b.shape, b.texture) or sizes_differ


def _outside_lanes(thing: Thing, twins: Pair) -> float:
    """The part of the time in which no look-alike, wherever in its lane, could cover the thing's centre."""
    centre = thing.path.centre(np.linspace(0, 1, STEPS + 1))
    free = np.ones(len(centre), bool)
    for x0, y0, x1, y1 in twins.lanes():
        dx = np.maximum(0, np.maximum(x0 - centre[:, 0], centre[:, 0] - x1))
        dy = np.maximum(0, np.maximum(y0 - centre[:, 1], centre[:, 1] - y1))
        free &= dx * dx + dy * dy > twins.radius**2
    return float(free.mean())


def _all_in_sight(things: list[Thing], settings: Settings) -> bool:
    """Whether each has its centre inside the frame and uncovered by these others for half the time."""
    u = np.linspace(0, 1, 33)
    centres = [thing.path.centre(u) for thing in things]
    radii = [thing.path.radius(u) for thing in things]
    frame = np.array([settings.width, settings.height])
    for i, centre in enumerate(centres):
        free = ((centre > 0) & (centre < frame)).all(1)
        for j in range(i + 1, len(things)):
            free &= ((centre - centres[j]) ** 2).sum(1) > radii[j] ** 2
        if free.mean() < 0.5:
            return False
    return True
