"""Two things that look the same and move differently, such that no single frame tells which is which.

The state of each is a point z on a torus, its motion a translation z + velocity * pace(u), and its place a function
of z that both share (leaving at one edge and coming in at the other, running between walls, or on a circle). z is
uniform, and a translated uniform point is uniform again: at any time both are anywhere in their lane with equal
chance. The two lanes are congruent, far enough apart not to touch, and dealt by a fair coin. So in any one frame the
two may be exchanged without a change of probability, and `swapped` builds the clip that has the same frame and the
motions exchanged. Nothing else in a clip may depend on how the two move (see `world`).
"""

import dataclasses
import math

import numpy as np

from vglamm_jax.data.synthetic.paths import Path, between, choose, constant, fold

GAP = 2.2  # smallest distance of the lanes, in radii

# Charts and the pairs of motions that may meet on them, by class of motions.
PAIRS: dict[str, tuple[tuple[str, tuple[str, str]], ...]] = {
    "sideways": (
        ("drift sideways", ("right", "left")),
        ("drift sideways", ("right fast", "right slow")),
        ("drift sideways", ("left fast", "left slow")),
    ),
    "upright": (
        ("drift upright", ("up", "down")),
        ("drift upright", ("up fast", "up slow")),
        ("drift upright", ("down fast", "down slow")),
    ),
    "pausing": (
        ("walls", ("still", "swing sideways")),
        ("walls", ("still", "swing upright")),
        ("walls", ("swing sideways", "swing upright")),
        ("walls", ("stop", "start")),
        ("walls", ("stop", "still")),
        ("walls", ("start", "still")),
    ),
    "curved": (("circle", ("circle clockwise", "circle counterclockwise")),),
}


@dataclasses.dataclass(frozen=True)
class Chart:
    """How a state is a place: `kind`, the extent (width, height) of a lane, and the circle's radius."""

    kind: str
    extent: tuple[float, float]
    reach: float = 0.0

    @property
    def periods(self) -> np.ndarray:
        """Lengths of the torus, [dimensions]."""
        if self.kind == "walls":
            return np.array([2 * self.extent[0], 2 * self.extent[1]])
        return np.array([*self.extent, 2 * math.pi] if self.kind == "circle" else self.extent)

    def places(self, z: np.ndarray) -> np.ndarray:
        """States [N, dimensions] -> [N, 2], from the corner of the lane."""
        if self.kind == "walls":
            return np.stack([fold(z[:, i], self.extent[i]) for i in (0, 1)], axis=-1)
        z = np.mod(z, self.periods)
        if self.kind == "circle":
            return z[:, :2] + self.reach * (1 + np.stack([np.cos(z[:, 2]), np.sin(z[:, 2])], axis=-1))
        return z


@dataclasses.dataclass(frozen=True)
class Member:
    motion: str
    corner: tuple[float, float]  # of its lane, pixels
    start: tuple[float, ...]  # state at u = 0
    velocity: tuple[float, ...]
    pace: tuple[tuple[float, float], tuple[float, float]]  # moves from the first to the second (u, progress)

    def progress(self, u: np.ndarray) -> np.ndarray:
        (u0, p0), (u1, p1) = self.pace
        return np.interp(u, [u0, u1], [p0, p1])

    def states(self, u: np.ndarray) -> np.ndarray:
        return np.array(self.start) + self.progress(u)[:, None] * np.array(self.velocity)


@dataclasses.dataclass(frozen=True)
class Pair:
    chart: Chart
    radius: float
    angle: float
    members: tuple[Member, Member]

    def paths(self) -> tuple[Path, Path]:
        return tuple(self._path(member) for member in self.members)

    def _path(self, member: Member) -> Path:
        def centre(u):
            return np.array(member.corner) + self.chart.places(member.states(u))

        return Path(centre, constant(self.radius), constant(self.angle))

    def lanes(self) -> np.ndarray:
        """Where the centres may be, [2, 4] as x0, y0, x1, y1, in an order that tells nothing."""
        width, height = (extent + 2 * self.chart.reach for extent in self.chart.extent)
        return np.array(sorted((x, y, x + width, y + height) for x, y in (m.corner for m in self.members)))

    def swapped(self, u: float) -> "Pair":
        """The pair with the motions exchanged that stands at the same places at time u."""
        return dataclasses.replace(self, members=tuple(self._at_place_of(i, u) for i in (1, 0)))

    def _at_place_of(self, mover: int, u: float) -> Member:
        """Moves like `mover`, but is at time u where the other one is."""
        mover, other = self.members[mover], self.members[1 - mover]
        now = other.states(np.array([u]))[0]
        start = now - mover.progress(np.array([u]))[0] * np.array(mover.velocity)
        return dataclasses.replace(mover, corner=other.corner, start=tuple(start.tolist()))


def draw_pair(class_name: str, radius: float, angle: float, size: tuple[int, int], rng: np.random.Generator) -> Pair:
    """Two look-alikes with motions of one class, in a frame of `size` (height, width)."""
    kind, motions = choose(rng, PAIRS[class_name])
    if rng.random() < 0.5:
        motions = motions[::-1]
    extent, corners = _lanes(kind, radius, size, rng)
    reach = between(rng, 0.36, 0.44) * min(extent) if kind == "circle" else 0.0
    chart = Chart(kind, tuple(side - 2 * reach for side in extent), reach)
    velocities = _velocities(motions, chart, min(size), rng)
    members = []
    for motion, corner, velocity in zip(motions, corners, velocities):
        start = tuple(float(rng.random()) * period for period in chart.periods)
        members.append(Member(motion, corner, start, velocity, _pace(motion, rng)))
    return Pair(chart, radius, angle, tuple(members))


def _lanes(kind: str, radius: float, size: tuple[int, int], rng: np.random.Generator):
    """Extent (width, height) of two congruent lanes and their corners (x, y), dealt at random."""
    frame = size[::-1]
    across = {"drift sideways": 1, "drift upright": 0}.get(kind)
    drift = across is not None
    across = choose(rng, (0, 1)) if across is None else across
    along = 1 - across
    room, gap = frame[across] - 2 * radius, GAP * radius + 1
    thick = between(rng, 0.85, 1.0) * min((room - gap) / 2, 0.4 * min(size))
    first = radius + between(rng, 0, room - gap - 2 * thick)
    second = between(rng, first + thick + gap, radius + room - thick)
    if drift:
        long, starts = frame[along] + 2 * radius, [-radius, -radius]
    else:
        long = min(between(rng, 0.3, 0.45) * min(size), frame[along] - 2 * radius)
        starts = [between(rng, radius, frame[along] - radius - long) for _ in range(2)]
    extent, corners = [0.0, 0.0], [[0.0, 0.0], [0.0, 0.0]]
    extent[across], extent[along] = thick, long
    for corner, low, start in zip(corners, (first, second), starts):
        corner[across], corner[along] = low, start
    corners = [tuple(corner) for corner in corners]
    return tuple(extent), corners if rng.random() < 0.5 else corners[::-1]


def _velocities(motions, chart: Chart, side: int, rng: np.random.Generator) -> list[tuple[float, ...]]:
    if chart.kind == "circle":
        speed = between(rng, 1.05, 1.35) * 2 * math.pi
        return [(0.0, 0.0, speed if motion == "circle clockwise" else -speed) for motion in motions]
    if chart.kind == "walls":
        return [_between_walls(motion, chart, side, rng) for motion in motions]
    usual = between(rng, 0.4, 0.8)
    paces = {"fast": between(rng, 0.68, 0.9), "slow": between(rng, 0.2, 0.32), "": usual}
    signs = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}
    out = []
    for motion in motions:
        direction, _, pace = motion.partition(" ")
        out.append(tuple(float(paces[pace] * side * sign) for sign in signs[direction]))
    return out


def _between_walls(motion: str, chart: Chart, side: int, rng: np.random.Generator) -> tuple[float, float]:
    if motion == "still":
        return (0.0, 0.0)
    if motion.startswith("swing"):
        axis = 0 if motion == "swing sideways" else 1
        distance = between(rng, 2.4, 3.0) * chart.extent[axis]
    else:
        axis = choose(rng, (0, 1))
        distance = between(rng, 0.35, 0.5) * side
    return (distance, 0.0) if axis == 0 else (0.0, distance)


def _pace(motion: str, rng: np.random.Generator):
    turn = between(rng, 0.42, 0.58)
    return {"stop": ((0.0, 0.0), (turn, 1.0)), "start": ((turn, 0.0), (1.0, 1.0))}.get(motion, ((0.0, 0.0), (1.0, 1.0)))
