"""J and F against the official scorer's numbers on real sequences, and on masks small enough to count by hand."""

import json

import cv2
import numpy as np
import pytest

from vglamm_jax.eval import davis as measure
from vglamm_jax.eval.davis import boundary_accuracy, region_similarity, score, statistics

EMPTY, FULL = np.zeros((40, 60), bool), np.ones((40, 60), bool)
SEQUENCES = ["blackswan", "bmx-trees", "breakdance", "car-shadow", "dog"]
SEQUENCES += ["drift-straight", "horsejump-high", "kite-surf", "motocross-jump", "scooter-black"]


def square(top: int, left: int, side: int = 10) -> np.ndarray:
    mask = EMPTY.copy()
    mask[top : top + side, left : left + side] = True
    return mask


def read(folder) -> np.ndarray:
    """bool [frames, height, width]: any label but 0."""
    return np.array([cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 0 for path in sorted(folder.glob("*.png"))])


@pytest.fixture(scope="session")
def official(davis) -> dict:
    return json.loads((davis / "osvos_scores.json").read_text())


def test_every_scored_sequence_is_compared(official):
    assert sorted(official) == SEQUENCES


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_each_frame_scores_as_officially(davis, official, sequence):
    expected = official[sequence]
    found = score(read(davis / "OSVOS" / sequence), read(davis / "Annotations" / sequence))
    np.testing.assert_allclose(found.J, expected["J"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.F, expected["F"], rtol=0, atol=1e-5)
    assert statistics(found.J).mean == pytest.approx(expected["J_mean"], abs=1e-9)
    assert statistics(found.F).mean == pytest.approx(expected["F_mean"], abs=1e-9)
    assert found.mean == pytest.approx((expected["J_mean"] + expected["F_mean"]) / 2, abs=1e-9)


@pytest.mark.parametrize(
    ("pred", "gt", "region", "boundary"),
    [
        (EMPTY, EMPTY, 1, 1),
        (FULL, FULL, 1, 1),
        (EMPTY, FULL, 0, 1),  # a mask that fills the frame has no outline either
        (EMPTY, square(5, 5), 0, 0),
        (FULL, square(5, 5), 100 / 2400, 0),
        (square(5, 5), square(5, 5), 1, 1),
        (square(5, 6), square(5, 5), 90 / 110, 1),  # the radius is ceil(0.008 * 72.1) = 1
        (square(6, 6), square(5, 5), 81 / 119, 39 / 40),  # the outermost corner is sqrt(2) away
        (square(5, 7), square(5, 5), 80 / 120, 22 / 40),  # 10 of each level side, and 2 where one crosses
        (square(25, 45), square(5, 5), 0, 0),
    ],
)
def test_small_masks_score_as_counted(pred, gt, region, boundary):
    for one, other in ((pred, gt), (gt, pred)):
        assert region_similarity(one, other) == pytest.approx(region, abs=1e-12)
        assert boundary_accuracy(one, other) == pytest.approx(boundary, abs=1e-12)


def test_the_tolerance_follows_the_diagonal():
    """Diagonals of 500 and just above: radii of 4 and 5 pixels."""
    for size, reached in (((300, 400), 4), ((300, 401), 5)):
        rows = np.arange(size[0])[:, None] + np.zeros(size)
        assert boundary_accuracy(rows < 100, rows < 100 + reached) == 1
        assert boundary_accuracy(rows < 100, rows < 101 + reached) == 0


def plain_outline(mask: np.ndarray) -> np.ndarray:
    """The definition spelled out: outline pixels differ from a neighbour right, below or both, inside the frame."""
    height, width = mask.shape
    found = np.zeros(mask.shape, bool)
    for y, x in np.ndindex(mask.shape):
        near = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
        found[y, x] = any(mask[at] != mask[y, x] for at in near if at[0] < height and at[1] < width)
    return found


def plain_boundary(pred: np.ndarray, gt: np.ndarray, radius: int) -> float:
    pred, gt = (np.argwhere(plain_outline(mask)) for mask in (pred, gt))
    if not len(pred) or not len(gt):
        return float(len(pred) == len(gt))
    near = ((pred[:, None] - gt[None]) ** 2).sum(-1) <= radius**2
    precision, recall = near.any(1).mean(), near.any(0).mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (7, 2), (13, 17), (24, 19)])
def test_any_size_scores_by_the_definition(size):
    random = np.random.default_rng(0)
    for case in range(12):
        share = random.choice([0, 0.02, 0.5, 0.98, 1], 3)
        pred, gt, void = (random.random((3, *size)) < share[:, None, None]).astype(bool)
        void &= case % 2 == 1
        tolerance = random.choice([0.008, 0.1])
        radius = int(np.ceil(tolerance * np.hypot(*size)))
        expected = plain_boundary(pred & ~void, gt & ~void, radius)
        assert boundary_accuracy(pred, gt, void, tolerance) == pytest.approx(expected, abs=1e-12)
        assert (measure.outline(gt) == plain_outline(gt)).all()


def test_void_pixels_belong_to_neither_mask():
    gt, pred, void = square(5, 5), square(5, 5) | square(25, 45), square(24, 44, 12)
    assert region_similarity(pred, gt, void) == 1 and boundary_accuracy(pred, gt, void) == 1
    assert region_similarity(pred, gt) == 0.5 and boundary_accuracy(pred, gt) == pytest.approx(2 / 3)
    clip = score(pred[None], gt[None], void[None])
    assert clip.J.tolist() == clip.F.tolist() == [1]
    assert region_similarity(pred, gt, FULL) == 1 and boundary_accuracy(pred, gt, FULL) == 1


def test_a_clip_is_its_frames_with_or_without_its_ends():
    gt = np.array([square(5, 5)] * 4 + [EMPTY])
    pred = np.array([EMPTY, square(5, 6), square(6, 6), square(5, 7), EMPTY])
    J, F = score(pred, gt)
    assert J.tolist() == [region_similarity(*pair) for pair in zip(pred, gt)]
    assert F.tolist() == [boundary_accuracy(*pair) for pair in zip(pred, gt)]
    inner = score(pred, gt, ends=False)
    assert inner.J.tolist() == J[1:-1].tolist() and inner.F.tolist() == F[1:-1].tolist()
    assert score(pred, gt, tolerance=0.1).F.tolist() == [0, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("values", "mean", "recall", "decay"),
    [
        ([0.5], 0.5, 0, 0),
        ([1, 0], 0.5, 0.5, 1),
        ([1, 0.8, 0.6, 0.4], 0.7, 0.75, 0.9 - 0.5),
        ([9, 8, 7, 6, 5, 4, 3, 2, 1], 5, 1, 8 - 2),  # quarters of three frames, the border frame in both
        ([8, 7, 6, 5, 4, 3, 2], 5, 1, 7 - 2.5),  # borders at 2.5 and 5.5 round up
        (range(1000, 0, -1), 500.5, 1, (1000 + 750) / 2 - (251 + 1) / 2),  # the official code counts to 255 only
    ],
)
def test_statistics_of_a_sequence(values, mean, recall, decay):
    assert statistics(np.array(values)) == pytest.approx((mean, recall, decay), abs=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: region_similarity(EMPTY.astype(np.uint8), EMPTY), "pred must be boolean, got uint8"),
        (lambda: boundary_accuracy(EMPTY[1:], EMPTY), r"pred has shape \(39, 60\), gt \(40, 60\)"),
        (lambda: boundary_accuracy(EMPTY, EMPTY, EMPTY[:, 1:]), r"void has shape \(40, 59\)"),
        (lambda: score(EMPTY, EMPTY), r"gt must be \[frames, height, width\], got shape \(40, 60\)"),
        (lambda: region_similarity(EMPTY[None], EMPTY[None]), r"gt must be \[height, width\]"),
        (lambda: statistics(score(EMPTY[None], EMPTY[None], ends=False).J), "at least one frame"),
    ],
)
def test_what_cannot_be_scored_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
