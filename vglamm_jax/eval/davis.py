"""How well masks agree, by the DAVIS definition (facts 7.3): region similarity J and boundary accuracy F of each frame.

J, F = score(pred, gt)            # bool [frames, height, width] twice -> float64 [frames] twice
statistics(J)                     # Statistics(mean, recall, decay) over the frames
score(pred, gt).mean              # the "J&F" of tables

J is intersection over union, 1 where both masks are empty.

F compares outlines. A pixel is on the outline where its right, lower or lower-right neighbour differs from it; beyond
the frame's edge the mask goes on as it ends, so the edge itself is no outline, and a mask that fills the frame has
none. An outline pixel is matched if the other outline passes within ceil(0.008 * diagonal) pixels: 8 at 480 x 854.
F is the harmonic mean of precision, the matched part of the predicted outline, and recall, that of the true one. It is
1 if neither mask has an outline and 0 if only one has.

Void pixels (label 255 in DAVIS) count as outside in both masks.

The official semi-supervised protocol leaves out the first frame, whose mask was given, and the last. Its unsupervised
protocol, which Ref-DAVIS17 uses, keeps them. Here all frames are kept unless `ends=False`.
"""

import functools
from typing import NamedTuple

import cv2
import numpy as np

TOLERANCE = 0.008  # of the frame's diagonal
RECALLED = 0.5  # a frame better than this counts for the recall of its sequence
FRAME = ("height", "width")
CLIP = ("frames", *FRAME)
BLOCK = np.ones((2, 2), np.uint8)


class Scores(NamedTuple):
    """J and F of each frame, float64 [frames] in 0..1."""

    J: np.ndarray
    F: np.ndarray

    @property
    def mean(self) -> float:
        """J&F: the mean of the mean J and the mean F."""
        return (statistics(self.J).mean + statistics(self.F).mean) / 2


class Statistics(NamedTuple):
    """J or F of a sequence: mean; share of frames above 0.5; mean of the first quarter less that of the last."""

    mean: float
    recall: float
    decay: float


def region_similarity(pred: np.ndarray, gt: np.ndarray, void: np.ndarray | None = None) -> float:
    """J of one frame in 0..1; all bool [height, width].

    Raises:
        ValueError: sizes differ, or not boolean.
    """
    return _jaccard(*_valid(pred, gt, void, FRAME))


def boundary_accuracy(
    pred: np.ndarray, gt: np.ndarray, void: np.ndarray | None = None, tolerance: float = TOLERANCE
) -> float:
    """F of one frame in 0..1; all bool [height, width]; `tolerance` is a fraction of the diagonal.

    Raises:
        ValueError: sizes differ, or not boolean.
    """
    pred, gt = _valid(pred, gt, void, FRAME)
    return _outline_agreement(*_cropped(pred, gt), _disk(_radius(gt.shape, tolerance)))


def score(
    pred: np.ndarray,
    gt: np.ndarray,
    void: np.ndarray | None = None,
    *,
    ends: bool = True,
    tolerance: float = TOLERANCE,
) -> Scores:
    """J and F of each frame; all bool [frames, height, width].

    `ends=False` leaves the first and the last frame out, as the official semi-supervised protocol does: the scores
    are then two shorter.

    Raises:
        ValueError: sizes differ, or not boolean.
    """
    pred, gt = _valid(pred, gt, void, CLIP)
    if not ends:
        pred, gt = pred[1:-1], gt[1:-1]
    disk = _disk(_radius(gt.shape[1:], tolerance))
    scores = np.ones((2, len(gt)))
    for frame, masks in enumerate(zip(pred, gt)):
        masks = _cropped(*masks)
        scores[:, frame] = _jaccard(*masks), _outline_agreement(*masks, disk)
    return Scores(*scores)


def statistics(values: np.ndarray) -> Statistics:
    """Mean, recall and decay of the J or F of a sequence, [frames].

    The quarters of the decay share their border frames. The official code counts frames in 8 bits there, which garbles
    the decay of sequences of more than 256 frames; this one does not.

    Raises:
        ValueError: no frames.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"statistics need the scores of at least one frame, [frames], got shape {values.shape}")
    # Half a frame rounds up; the plain np.round would take it to the even neighbour.
    borders = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(int) - 1
    first, last = values[: borders[1] + 1], values[borders[3] :]
    return Statistics(float(values.mean()), float((values > RECALLED).mean()), float(first.mean() - last.mean()))


def outline(mask: np.ndarray) -> np.ndarray:
    """bool [height, width] -> uint8 of that size, 1 on the outline: where a 2 x 2 block begins that is not uniform."""
    return cv2.morphologyEx(
        mask.view(np.uint8), cv2.MORPH_GRADIENT, BLOCK, anchor=(0, 0), borderType=cv2.BORDER_REPLICATE
    )


def _jaccard(pred: np.ndarray, gt: np.ndarray) -> float:
    union = np.count_nonzero(pred | gt)
    return np.count_nonzero(pred & gt) / union if union else 1.0


def _outline_agreement(pred: np.ndarray, gt: np.ndarray, disk: np.ndarray) -> float:
    if not pred.size:
        return 1.0
    pred, gt = outline(pred), outline(gt)
    in_pred, in_gt = cv2.countNonZero(pred), cv2.countNonZero(gt)
    if not in_pred or not in_gt:
        return float(in_pred == in_gt)
    precision = cv2.countNonZero(pred & cv2.dilate(gt, disk)) / in_pred
    recall = cv2.countNonZero(gt & cv2.dilate(pred, disk)) / in_gt
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _cropped(pred: np.ndarray, gt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part of both masks that holds their pixels and outlines; of no size if both are empty."""
    union = pred | gt
    # The outline reaches one pixel beyond a mask to the left and above. One more to the right and below, where there
    # is one, shows that the mask ends there.
    part = tuple(_grown(np.flatnonzero(union.any(axis))) for axis in (1, 0))
    return pred[part], gt[part]


def _grown(inside: np.ndarray) -> slice:
    return slice(max(inside[0] - 1, 0), inside[-1] + 2) if len(inside) else slice(0, 0)


def _radius(size: tuple[int, ...], tolerance: float) -> int:
    return int(np.ceil(tolerance * np.linalg.norm(size)))


@functools.cache
def _disk(radius: int) -> np.ndarray:
    """uint8 [2 * radius + 1] * 2: the pixels within `radius` of the middle one."""
    squares = np.arange(-radius, radius + 1) ** 2
    return (squares[:, None] + squares <= radius**2).astype(np.uint8)


def _valid(
    pred: np.ndarray, gt: np.ndarray, void: np.ndarray | None, axes: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Both masks without their void pixels."""
    masks = {"gt": np.asarray(gt), "pred": np.asarray(pred)} | ({} if void is None else {"void": np.asarray(void)})
    for name, mask in masks.items():
        if mask.dtype != bool:
            raise ValueError(f"{name} must be boolean, got {mask.dtype}: compare it with its threshold or label first")
        if mask.ndim != len(axes):
            raise ValueError(f"{name} must be [{', '.join(axes)}], got shape {mask.shape}")
        if mask.shape != masks["gt"].shape:
            raise ValueError(f"{name} has shape {mask.shape}, gt {masks['gt'].shape}: bring it to the size of gt first")
    if void is None:
        return masks["pred"], masks["gt"]
    return masks["pred"] & ~masks["void"], masks["gt"] & ~masks["void"]
