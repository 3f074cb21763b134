"""Changes of a clip before it is normalised, the same ones in all of its frames and masks.

    said, plan = choose(said, masks, cfg, rng)      the wording decides what is allowed, and follows
    apply(plan, frames)                             uint8 [T, H, W, 3] -> uint8 [T, h, w, 3]
    apply_to_masks(plan, masks, size)               bool [n, K, H, W] -> bool [n, K, *size]

The original jitters colours after normalising, which clamps every negative value to 0, and draws another crop for each
frame (facts 5.7); both are fixed here. Its scaling by up to 1.2 and cropping back is a cut-out of the frame, which
costs nothing as each encoder resizes anyway.
"""

import dataclasses
import math
from collections.abc import Sequence

import cv2
import numpy as np

from vglamm_jax.config import config
from vglamm_jax.data.conversation import Exchange, mirrored_exchanges, texts_of
from vglamm_jax.data.wording import names_colour, reversible

TRIES = 4
GREY = np.array([0.299, 0.587, 0.114])
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


@config
class AugmentConfig:
    """How much of each. Evaluation and demos use none (None in place of this).

    scale: the frame is enlarged by up to this factor before it is cut to its old size.
    keep: a cut leaves at least this share of each visible mask, else another is drawn, at last none.
    flip, reverse: probability of mirroring and of playing backwards, where the wording allows it.
    brightness, contrast, saturation: factors within 1 +- this; hue: a turn within +- this, 0.5 being half a circle,
    and none where the text names a colour.
    """

    scale: float = 1.2
    keep: float = 0.5
    flip: float = 0.5
    reverse: float = 0.1
    brightness: float = 0.5
    contrast: float = 0.5
    saturation: float = 0.5
    hue: float = 0.1


@dataclasses.dataclass(frozen=True)
class Plan:
    """What happens to a clip.

    Attributes:
        cut: (top, left, height, width) in shares of the frame.
        flip: mirror left and right.
        reverse: play backwards.
        colour: (brightness, contrast, saturation, hue), None for no change.
    """

    cut: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    flip: bool = False
    reverse: bool = False
    colour: tuple[float, float, float, float] | None = None


NOTHING = Plan()


def choose(
    said: Sequence[Exchange], masks: np.ndarray, cfg: AugmentConfig, rng: np.random.Generator, moving: bool = True
) -> tuple[tuple[Exchange, ...], Plan]:
    """What to do to a clip, and the conversation about the clip so changed.

    `masks`, bool [n, K, H, W], must not be cut away. Playing backwards needs `moving`, a video, and no time spans.
    """
    texts = texts_of(said)
    flip = rng.random() < cfg.flip
    mirror = mirrored_exchanges(said) if flip else None
    backwards = rng.random() < cfg.reverse and moving and all(one.time_span is None for one in said)
    plan = Plan(
        cut=_cut(masks, cfg, rng),
        flip=mirror is not None,
        reverse=backwards and all(map(reversible, texts)),
        colour=_colour(cfg, rng, any(map(names_colour, texts))),
    )
    return tuple(said if mirror is None else mirror), plan


def apply(plan: Plan, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
    """uint8 [H, W, 3] frames of one clip -> the same, cut, mirrored and recoloured; their order is not touched."""
    cut = [_place(plan, frame, axis=0) for frame in frames]
    if plan.colour is None or not cut:
        return [np.ascontiguousarray(frame) for frame in cut]
    matrix = colour_matrix(plan.colour, float(np.mean([frame[::8, ::8].mean((0, 1)) @ GREY for frame in cut])))
    return [cv2.transform(np.ascontiguousarray(frame), matrix) for frame in cut]


def apply_to_masks(plan: Plan, masks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """bool [..., H, W] -> bool [..., *size]: cut, mirrored, and the nearest pixel's value taken."""
    placed = _place(plan, masks, axis=-2)
    if not masks.size:
        return np.zeros((*masks.shape[:-2], *size), bool)
    flat = np.ascontiguousarray(placed).reshape(-1, *placed.shape[-2:]).view(np.uint8)
    resized = [cv2.resize(one, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT) for one in flat]
    return np.array(resized).view(bool).reshape(*masks.shape[:-2], *size)


def colour_matrix(colour: tuple[float, float, float, float], grey: float) -> np.ndarray:
    """Brightness, contrast about the clip's mean `grey`, saturation and hue, in this order, as one [3, 4] matrix."""
    brightness, contrast, saturation, hue = colour
    saturate = saturation * np.eye(3) + (1 - saturation) * np.outer(np.ones(3), GREY)
    angle = 2 * math.pi * hue
    turn = np.array([[1, 0, 0], [0, math.cos(angle), -math.sin(angle)], [0, math.sin(angle), math.cos(angle)]])
    hues = np.linalg.solve(_TO_YIQ, turn @ _TO_YIQ)
    lift = brightness * (1 - contrast) * grey
    return np.concatenate(
        [brightness * contrast * hues @ saturate, (hues @ saturate @ np.full(3, lift))[:, None]], axis=1
    )


def _cut(masks: np.ndarray, cfg: AugmentConfig, rng: np.random.Generator) -> tuple[float, float, float, float]:
    for _ in range(TRIES):
        side = 1 / rng.uniform(1.0, cfg.scale)
        cut = (*(rng.random(2) * (1 - side)).tolist(), side, side)
        left = _place(Plan(cut=cut), masks, axis=-2).sum((-2, -1), dtype=np.int64)
        if (left >= cfg.keep * masks.sum((-2, -1), dtype=np.int64)).all():
            return cut
    return NOTHING.cut


def _colour(cfg: AugmentConfig, rng: np.random.Generator, named: bool) -> tuple[float, float, float, float] | None:
    reach = np.array([cfg.brightness, cfg.contrast, cfg.saturation, cfg.hue])
    drawn = np.array([1, 1, 1, 0]) + reach * rng.uniform(-1, 1, 4)
    if named:
        drawn[3] = 0
    return tuple(drawn.tolist()) if reach.any() else None


def _place(plan: Plan, pixels: np.ndarray, axis: int) -> np.ndarray:
    """Cut out and mirrored view; rows are `axis`, columns follow."""
    axis %= pixels.ndim
    height, width = pixels.shape[axis : axis + 2]
    top, bottom = _pixels(plan.cut[0], plan.cut[2], height)
    left, right = _pixels(plan.cut[1], plan.cut[3], width)
    view = pixels[(slice(None),) * axis + (slice(top, bottom), slice(left, right))]
    return np.flip(view, axis + 1) if plan.flip else view


def _pixels(start: float, share: float, length: int) -> tuple[int, int]:
    size = max(1, round(share * length))
    first = min(round(start * length), length - size)
    return first, first + size
