"""Mean IoU of the objects of one video, as the original scores grounded conversations (facts 7.1)."""

import numpy as np


def mean_iou(pred: np.ndarray, gt: np.ndarray) -> float:
    """Mean IoU of the pairs of predicted and true objects, 0..1; a data set scores the mean over its videos.

    pred: bool [predicted objects, frames, height, width]; gt: bool [true objects, frames, height, width].

    The IoU of two objects is taken over all frames at once. The best pair is taken first, its two objects are out, and
    so on while a pair overlaps; without a pair the score is 0. This is the published measure, with what it overlooks:
    objects left without a partner cost nothing (facts 10.50), and an object that is empty in the prediction and one
    that is empty in the truth make the score 0 (facts 10.51).

    Raises:
        ValueError: frames or sizes differ, or not boolean.
    """
    pred, gt = np.asarray(pred), np.asarray(gt)
    for name, masks in (("pred", pred), ("gt", gt)):
        if masks.dtype != bool or masks.ndim != 4:
            raise ValueError(
                f"{name} must be boolean [objects, frames, height, width], got {masks.dtype} {masks.shape}"
            )
    if pred.shape[1:] != gt.shape[1:]:
        raise ValueError(f"pred has frames x height x width {pred.shape[1:]}, gt {gt.shape[1:]}: make them equal first")
    paired = []
    overlaps = _overlaps(pred, gt)
    while overlaps.size and overlaps.max() > 0:  # never so with a NaN among them
        one, other = np.unravel_index(overlaps.argmax(), overlaps.shape)
        paired.append(overlaps[one, other])
        overlaps = np.delete(np.delete(overlaps, one, 0), other, 1)
    return float(np.mean(paired)) if paired else 0.0


def _overlaps(pred: np.ndarray, gt: np.ndarray) -> np.ndarray:
    """IoU of each true with each predicted object, float64 [gt, pred]; NaN where both are empty."""
    shared = np.array([np.count_nonzero(one & other) for one in gt for other in pred], np.float64)
    shared = shared.reshape(len(gt), len(pred))
    areas = [[np.count_nonzero(one) for one in masks] for masks in (gt, pred)]
    union = np.add.outer(*areas) - shared
    return np.divide(shared, union, out=np.full_like(shared, np.nan), where=union > 0)
