"""The colours of a clip: backgrounds, textures, light and noise. Every `rendering` of a world has others."""

import numpy as np

from vglamm_jax.data.synthetic.paths import between, choose
from vglamm_jax.data.synthetic.silhouettes import Layers, Silhouette
from vglamm_jax.data.synthetic.vocabulary import COLOURS
from vglamm_jax.data.synthetic.world import Thing, World

BACKGROUNDS = ("clouds", "tiles", "planks", "slope", "speckles")
# Quantiles of the normal distribution, so that noise is random bytes looked up in a table.
_GAUSS = (-2.66, -2.1, -1.83, -1.64, -1.49, -1.36, -1.25, -1.14, -1.05, -0.97, -0.88, -0.81)
_GAUSS += (-0.73, -0.66, -0.59, -0.53, -0.46, -0.4, -0.34, -0.28, -0.22, -0.16, -0.1, -0.05)


def paint(world: World, drawn: Layers, rng: np.random.Generator) -> np.ndarray:
    """uint8 RGB [T, H, W, 3]. Outlines are anti-aliased; a pixel of a mask shows at least half of its thing."""
    height, width = world.settings.size
    frames = _background(world, rng)
    gain = between(rng, 0.88, 1.08)
    tints = _tints(world, rng)
    for thing, one, tint in zip(world.things, drawn.silhouettes, tints):
        colours, alpha = _colours(thing, one, tint), np.clip(one.depth + np.float32(0.5), 0, 1)[..., None]
        for t, frame in enumerate(frames):
            place = one.window(t, (height, width))
            if place:
                region, cover = frame[place[0]], alpha[t][place[1]]
                region += (colours[t][place[1]] - region) * cover
    frames *= np.float32(gain)
    _add_noise(frames, between(rng, 0.2, 1.0) * world.settings.noise, rng)
    np.rint(frames, out=frames)
    return np.clip(frames, 0, 255, out=frames).astype(np.uint8)


def _tints(world: World, rng: np.random.Generator) -> list[np.ndarray]:
    """The shade of each thing's colour, float32 [3]; look-alikes share theirs."""
    tints = []
    for thing in world.things:
        shift = (rng.random(3) * 2 - 1) * 8
        tints.append(np.clip(np.array(COLOURS[thing.look.colour]) + shift, 0, 255).astype(np.float32))
    if world.pair:
        tints[world.pair[1]] = tints[world.pair[0]]
    return tints


def _colours(thing: Thing, one: Silhouette, tint: np.ndarray) -> np.ndarray:
    """float32 [T, P, P, 3]: the texture, and a dark rim that sets the thing off from whatever is behind."""
    rim = np.maximum(1.0, 0.09 * one.radius).astype(np.float32)[:, None, None]
    light = np.where(one.depth < rim, np.float32(0.62), _texture(thing, *one.local))
    return light[..., None] * tint


def _texture(thing: Thing, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    phase = np.float32(thing.texture_phase)
    if thing.look.texture == "striped":
        return np.where(np.mod(x * np.float32(1.5) + phase, 1) < 0.45, np.float32(0.36), np.float32(1))
    if thing.look.texture == "spotted":
        x, y = x * np.float32(1.55) + phase, y * np.float32(1.55) + phase
        x = np.mod(x + np.float32(0.5) * np.mod(np.floor(y), 2), 1) - np.float32(0.5)
        y = np.mod(y, 1) - np.float32(0.5)
        return np.where(x * x + y * y < 0.085, np.float32(0.32), np.float32(1))
    return np.ones_like(x)


def _background(world: World, rng: np.random.Generator) -> np.ndarray:
    """float32 [T, H, W, 3], shifted by the camera."""
    height, width = world.settings.size
    camera = world.camera
    margin = int(np.abs(camera).max())
    pattern = _pattern(choose(rng, BACKGROUNDS), (height + 2 * margin, width + 2 * margin), min(height, width), rng)
    grey = between(rng, 95, 165)
    dark, light = (grey + (rng.random(3) * 2 - 1) * 14 + step for step in (-18, 18))
    canvas = (dark + (light - dark) * pattern[..., None]).astype(np.float32)
    shifts = [(margin - int(y), margin - int(x)) for x, y in camera]
    return np.stack([canvas[y : y + height, x : x + width] for y, x in shifts])


def _pattern(kind: str, size: tuple[int, int], side: int, rng: np.random.Generator) -> np.ndarray:
    """Values from 0 to 1, [H, W]."""
    y, x = np.arange(size[0])[:, None] / side, np.arange(size[1])[None] / side
    phase, scale = rng.random(2), between(rng, 4, 9)
    if kind == "tiles":
        shade = (np.floor(x * scale + phase[0]) + np.floor(y * scale + phase[1])) % 2
        return shade * 0.75 + 0.25 * _clouds(size, 6, rng)
    if kind == "planks":
        along = np.mod((y if phase[0] < 0.5 else x) * scale + phase[1], 1) + np.zeros(size)
        return np.where(along < 0.12, 0, 0.5 + 0.4 * along) * 0.8 + 0.2 * _clouds(size, 10, rng)
    if kind == "slope":
        slant = (x * (phase[0] - 0.5) + y * (phase[1] - 0.5)) * 2 + 0.5
        return np.clip(slant, 0, 1) * 0.7 + 0.3 * _clouds(size, 12, rng)
    if kind == "speckles":
        return 0.5 * _clouds(size, 5, rng) + 0.5 * rng.random(size)
    return 0.65 * _clouds(size, 4, rng) + 0.35 * _clouds(size, 11, rng)


def _clouds(size: tuple[int, int], cells: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise: a coarse grid of random values, interpolated along one side after the other."""
    values = rng.random((cells + 1, cells + 1))
    for axis, length in enumerate(size):
        place = np.arange(length) * (cells / length)
        low = np.floor(place).astype(np.int64)
        part = place - low
        part = (part * part * (3 - 2 * part)).reshape((-1, 1) if axis == 0 else (1, -1))
        values = np.take(values, low, axis) * (1 - part) + np.take(values, low + 1, axis) * part
    return values


def _add_noise(frames: np.ndarray, strength: float, rng: np.random.Generator) -> None:
    """Each frame gets another stretch of the same long noise: drawing every value anew would take most of the time."""
    if strength > 0:
        half = np.array([*_GAUSS, *(-x for x in reversed(_GAUSS))])
        table = np.interp(np.linspace(0, 1, 256), np.linspace(0, 1, len(half)), half * strength).astype(np.float32)
        length = frames[0].size
        noise = np.take(table, np.frombuffer(rng.bytes(2 * length), np.uint8))
        for frame, start in zip(frames, (rng.random(len(frames)) * length).astype(np.int64)):
            frame += noise[start : start + length].reshape(frame.shape)
