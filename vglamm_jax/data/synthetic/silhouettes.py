"""Which pixels each thing covers, and which of them are seen.

Each thing is drawn on its own small window of pixels around its centre. Everything is elementwise arithmetic on
rounded positions, so that all machines agree on every pixel.
"""

import dataclasses
import functools
import math

import numpy as np

from vglamm_jax.data.synthetic.world import Thing, World

GRID = 64.0  # positions are multiples of 1/64 pixel
SMALLEST = 0.08  # less of a thing than this is not "seen"


@dataclasses.dataclass(frozen=True, eq=False)
class Silhouette:
    """One thing in all frames.

    Attributes:
        corner: int [T, 2], x and y of the window's first pixel; it may lie outside the frame.
        depth: float32 [T, P, P], pixels from the outline, positive inside.
        local: float32 [2, T, P, P], coordinates in the thing's own frame, in radii.
        centre: float64 [T, 2], as seen, i.e. with the camera's shift.
        radius: float64 [T].
    """

    corner: np.ndarray
    depth: np.ndarray
    local: np.ndarray
    centre: np.ndarray
    radius: np.ndarray

    def window(self, frame: int, size: tuple[int, int]):
        """Slices (rows, columns) of the frame and of the window where the two overlap; None where they do not."""
        x, y = (int(v) for v in self.corner[frame])
        side = self.depth.shape[1]
        top, left, bottom, right = max(0, y), max(0, x), min(size[0], y + side), min(size[1], x + side)
        if top >= bottom or left >= right:
            return None
        return (slice(top, bottom), slice(left, right)), (slice(top - y, bottom - y), slice(left - x, right - x))


@dataclasses.dataclass(frozen=True, eq=False)
class Layers:
    """All things of a world.

    Attributes:
        silhouettes: one a thing.
        owner: int8 [T, H, W], the thing that each pixel shows, -1 for the background.
        visible: int [N, T], pixels of each thing that are seen.
        whole: int [N, T], pixels it would have were nothing in front and the frame larger.
    """

    silhouettes: tuple[Silhouette, ...]
    owner: np.ndarray
    visible: np.ndarray
    whole: np.ndarray

    @functools.cached_property
    def seen(self) -> np.ndarray:
        """bool [N, T]: enough of the thing is visible to know it."""
        return self.visible >= np.maximum(3, SMALLEST * self.whole)

    def masks(self) -> np.ndarray:
        """bool [N, T, H, W], the visible pixels of each thing."""
        return self.owner[None] == np.arange(len(self.silhouettes), dtype=np.int8)[:, None, None, None]


def layers(world: World) -> Layers:
    """Draws every thing and covers the far ones by the near ones. A pixel belongs to a thing that covers its centre."""
    drawn = tuple(silhouette(thing, world.times, world.camera) for thing in world.things)
    owner = np.full((world.settings.frames, *world.settings.size), -1, np.int8)
    for i, one in enumerate(drawn):
        inside = one.depth >= 0
        for t in range(len(owner)):
            place = one.window(t, world.settings.size)
            if place:
                owner[t][place[0]][inside[t][place[1]]] = i
    counts = [np.bincount(frame.ravel() + 1, minlength=len(drawn) + 1)[1:] for frame in owner]
    whole = np.stack([(one.depth >= 0).sum((1, 2)) for one in drawn])
    return Layers(drawn, owner, np.stack(counts, axis=1), whole)


def silhouette(thing: Thing, times: np.ndarray, camera: np.ndarray) -> Silhouette:
    """Depth and own coordinates around the thing's centre at each time [T]; `camera` [T, 2] is added to the place."""
    centre = np.rint(thing.path.centre(times) * GRID) / GRID + camera
    radius = np.rint(thing.path.radius(times) * GRID) / GRID
    angle = thing.path.angle(times)
    reach = math.ceil(radius.max()) + 1
    corner = np.floor(centre).astype(np.int64) - reach
    steps = np.arange(2 * reach + 1) + 0.5
    dx = (corner[:, :1] - centre[:, :1] + steps).astype(np.float32)[:, None, :]
    dy = (corner[:, 1:] - centre[:, 1:] + steps).astype(np.float32)[:, :, None]
    size = radius.astype(np.float32)[:, None, None]
    cos, sin = (_rounded(f(angle))[:, None, None] for f in (np.cos, np.sin))
    local = np.stack([(dx * cos + dy * sin) / size, (dy * cos - dx * sin) / size])
    return Silhouette(corner, OUTLINES[thing.look.shape](*local) * size, local, centre, radius)


def _rounded(x: np.ndarray) -> np.ndarray:
    """Machines differ in the last bit of a sine; none of them may show."""
    return (np.rint(x * 2**20) / 2**20).astype(np.float32)


def _circle(x, y):
    return 1 - np.sqrt(x * x + y * y)


def _ring(x, y):
    distance = np.sqrt(x * x + y * y)
    return np.minimum(1 - distance, distance - np.float32(0.5))


def _square(x, y):
    return np.float32(0.74) - np.maximum(np.abs(x), np.abs(y))


def _cross(x, y):
    x, y, arm = np.abs(x), np.abs(y), np.float32(0.31)
    return np.maximum(np.minimum(arm - x, 0.94 - y), np.minimum(0.94 - x, arm - y))


def _edges(x, y, corners: int, distance: float):
    """Depth behind each of the edges whose normals point evenly around, the first one down: [corners, T, P, P]."""
    angles = math.pi / 2 + 2 * math.pi * np.arange(corners) / corners
    return np.stack([np.float32(distance) - (x * cos + y * sin) for cos, sin in _rounded(_unit(angles))])


def _unit(angles):
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def _triangle(x, y):
    # Moved down a little: the middle of its height is the middle of the window.
    return _edges(x, y - np.float32(0.12), 3, 0.54).min(0)


def _star(x, y):
    """Inside at least four of the five lines through its points."""
    return np.partition(_edges(x, y, 5, 0.33), 1, axis=0)[1]


OUTLINES = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
}
