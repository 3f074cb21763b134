"""The mean IoU of grounded conversations on volumes counted by hand."""

import numpy as np
import pytest

from vglamm_jax.eval.mean_iou import mean_iou


def volumes(*spans: tuple[int, int]) -> np.ndarray:
    """[objects, 2, 2, 5]: each object fills the pixels first..last of the 20 of two frames."""
    filled = np.zeros((len(spans), 20), bool)
    for one, (first, last) in zip(filled, spans):
        one[first:last] = True
    return filled.reshape(-1, 2, 2, 5)


NOTHING, FIRST, SECOND = (0, 0), (0, 8), (8, 20)


@pytest.mark.parametrize(
    ("pred", "gt", "score"),
    [
        ([FIRST, SECOND], [FIRST, SECOND], 1),
        ([SECOND, FIRST], [FIRST, SECOND], 1),  # by overlap, not by place
        ([(4, 12)], [FIRST], 4 / 12),  # over both frames at once: 1/2 and 0 apart
        ([(0, 6), (0, 8)], [FIRST, (0, 12)], (1 + 6 / 12) / 2),  # the best pair is gone before the next is sought
        ([FIRST], [FIRST, SECOND], 1),  # an object nobody found costs nothing
        ([FIRST, SECOND], [FIRST], 1),  # nor does one too many
        ([SECOND], [FIRST], 0),
        ([FIRST, NOTHING], [FIRST], 1),
        ([FIRST, NOTHING], [FIRST, NOTHING], 0),
        ([], [FIRST], 0),
        ([FIRST], [], 0),
    ],
)
def test_the_best_pairs_are_averaged(pred, gt, score):
    assert mean_iou(volumes(*pred), volumes(*gt)) == pytest.approx(score, abs=1e-12)


@pytest.mark.parametrize(
    ("pred", "gt", "message"),
    [
        (volumes(FIRST).astype(np.float32), volumes(FIRST), "pred must be boolean .* got float32"),
        (volumes(FIRST), volumes(FIRST)[0], r"gt must be boolean \[objects, .* got bool \(2, 2, 5\)"),
        (volumes(FIRST)[:, :1], volumes(FIRST), r"pred has .* \(1, 2, 5\), gt \(2, 2, 5\)"),
    ],
)
def test_masks_of_another_kind_are_refused(pred, gt, message):
    with pytest.raises(ValueError, match=message):
        mean_iou(pred, gt)
