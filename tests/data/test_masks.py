"""Masks as run lengths: written, read, damaged, and made from whatever COCO files hold."""

import cv2
import numpy as np
import pytest

from vglamm_jax.data import masks
from vglamm_jax.data.masks import MaskError, Rle, as_rle

BLOCK = np.zeros((4, 5), bool)
BLOCK[1:3, 2:4] = True  # columns 2 and 3, rows 1 and 2: runs 9 outside, 2 in, 2 out, 2 in, 5 out


def test_a_mask_survives_and_an_empty_one_is_none():
    rle = masks.encode(BLOCK)
    assert rle.size == (4, 5) and masks.area(rle) == 4 and masks.box(rle) == (2, 1, 2, 2)
    assert masks.run_lengths(rle.counts).tolist() == [9, 2, 2, 2, 5]
    assert (masks.decode(rle) == BLOCK).all()
    assert masks.encode(np.zeros((4, 5))) is None
    assert masks.decode(None, (4, 5)).tolist() == [[False] * 5] * 4 and masks.area(None) == 0


def test_run_lengths_of_real_sizes_are_read_back():
    noise = np.random.default_rng(0).random((480, 854))
    for mask in (noise > 0.5, cv2.GaussianBlur(noise, (0, 0), 20) > 0.5, noise == noise.max(), noise >= 0):
        rle = masks.encode(mask)
        column = np.diff(mask.flatten(order="F").astype(int), prepend=0)
        edges = [0, *np.flatnonzero(column), mask.size]
        assert masks.run_lengths(rle.counts).tolist() == np.diff(edges).tolist()
        masks.check(rle)


@pytest.mark.parametrize(
    ("segmentation", "pixels"),
    [
        ([[1, 0, 4, 0, 4, 2, 1, 2]], [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3)]),
        ([[[0, 0], [2, 0], [2, 2], [0, 2]], [4, 0, 5, 0, 5, 1, 4, 1]], [(0, 0), (0, 1), (1, 0), (1, 1), (0, 4)]),
        ({"size": [4, 5], "counts": [9, 2, 9]}, [(1, 2), (2, 2)]),
        ({"size": [4, 5], "counts": masks.encode(BLOCK).counts}, [(1, 2), (2, 2), (1, 3), (2, 3)]),
        ({"size": [4, 5], "counts": masks.encode(BLOCK).counts.encode()}, [(1, 2), (2, 2), (1, 3), (2, 3)]),
    ],
    ids=["polygon", "polygons", "uncompressed", "text", "bytes"],
)
def test_every_form_of_a_coco_segmentation(segmentation, pixels):
    decoded = masks.decode(as_rle(segmentation, (4, 5)))
    assert sorted(map(tuple, np.argwhere(decoded).tolist())) == sorted(pixels)


@pytest.mark.parametrize("nothing", [None, [], {"size": [4, 5], "counts": [20]}, [[1, 1, 1, 1, 1, 1]]])
def test_nothing_inside_is_none(nothing):
    assert as_rle(nothing, (4, 5)) is None


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        ({"size": [4, 5], "counts": "92"}, "cover 11 pixels, not 4 x 5"),
        ({"size": [4, 5], "counts": "zzz"}, "not COCO's compressed"),
        ({"size": [4, 5], "counts": ""}, "not COCO's compressed"),
        ({"size": [4, 5], "counts": [9, 2]}, "add up to 4 x 5"),
        ({"size": [4], "counts": [9]}, "size must be"),
        ({"size": [4, 5], "counts": 3}, "counts must be"),
        ([[1, 2, 3, 4]], "three points"),
        ([["a", 2]], "list of numbers"),
        ([[1, 2, 3, 4, 1e300, 0]], "far outside of 5 x 4"),
        ([[1, 2, 3, 4, float("nan"), 0]], "far outside"),
        ({"size": [2**20, 2**20], "counts": [2**40]}, "size must be"),
        ("mask.png", "expected polygons"),
    ],
)
def test_what_is_no_mask_is_named(segmentation, reason):
    with pytest.raises(MaskError, match=reason):
        as_rle(segmentation, (4, 5))


def test_union_and_nearest_resizing():
    left, right = BLOCK.copy(), BLOCK.copy()
    left[:, 3:], right[:, :3] = False, False
    assert masks.union([masks.encode(left), None, masks.encode(right)]) == masks.encode(BLOCK)
    assert masks.union([None]) is None and masks.union([]) is None
    doubled = masks.resize(BLOCK[None], (8, 10))
    assert doubled.shape == (1, 8, 10) and (doubled[0] == BLOCK.repeat(2, 0).repeat(2, 1)).all()
    assert masks.resize(BLOCK, (2, 5)).tolist() == BLOCK[::2].tolist()


def test_check_finds_negative_runs():
    with pytest.raises(MaskError, match="damaged"):
        masks.check(Rle((4, 5), "92O9"))
