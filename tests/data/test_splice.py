"""The original's own rows (facts, appendix A): where visual rows go and which states predict [SEG]."""

import numpy as np
import pytest

from vglamm_jax.data.prompts import PLACEHOLDER_ID
from vglamm_jax.data.splice import expand, left_pad

SEG = 99
VIDEO = [1, 10, 11, *[PLACEHOLDER_ID] * 16, 12, 13, 20, SEG, 21, SEG, 3]
IMAGE = [1, 10, 11, PLACEHOLDER_ID, 12, 13, 20, SEG, 3]
TEXT = [1, 10, 20, SEG, 3]


@pytest.mark.parametrize(
    ("ids", "rows", "length", "marked"),
    [(VIDEO, 3328, 3338, [3333, 3335]), (IMAGE, 576, 584, [581]), (TEXT, 0, 5, [2])],
    ids=["video", "image", "text"],
)
def test_rows_of_the_original(ids, rows, length, marked):
    text, visual, predicts_seg = expand(ids, rows, SEG)
    assert len(text) == len(visual) == len(predicts_seg) == length
    assert np.flatnonzero(predicts_seg).tolist() == marked
    assert (text[np.array(marked) + 1] == SEG).all()
    assert visual[visual >= 0].tolist() == list(range(rows))
    if rows:
        assert np.flatnonzero(visual >= 0).tolist() == list(range(3, 3 + rows))
    assert [i for i, v in zip(text, visual) if v < 0] == [i for i in ids if i != PLACEHOLDER_ID]


def test_context_rows_come_before_video_rows():
    """Rows 0 to 2303 of the visual tokens are context images, the rest video (facts 1.5)."""
    _, visual, _ = expand(VIDEO, 3328, SEG)
    assert np.flatnonzero((visual >= 0) & (visual < 2304))[[0, -1]].tolist() == [3, 2306]
    assert np.flatnonzero(visual >= 2304)[[0, -1]].tolist() == [2307, 3330]


def test_raw_mask_marks_the_position_before_each_seg():
    """With as many rows as placeholders nothing moves."""
    ids = [1, 5, PLACEHOLDER_ID, PLACEHOLDER_ID, 7, SEG, 8, SEG, 9]
    assert expand(ids, 2, SEG)[2].astype(int).tolist() == [0, 0, 0, 0, 1, 0, 1, 0, 0]


def test_two_groups_are_refused():
    with pytest.raises(ValueError, match="one video or image only"):
        expand([1, PLACEHOLDER_ID, 2, PLACEHOLDER_ID], 4, SEG)


def test_missing_video_is_named():
    with pytest.raises(ValueError, match="none is given"):
        expand(VIDEO, 0, SEG)


def test_left_padding_ends_all_rows_together():
    batch = left_pad([expand(IMAGE, 4, SEG), expand(TEXT, 0, SEG)], length=12, pad_id=7)
    assert batch.ids.shape == batch.visual.shape == batch.predicts_seg.shape == (2, 12)
    assert batch.padding.tolist() == [0, 7]
    assert batch.ids[1].tolist() == [7] * 7 + TEXT
    assert (batch.visual[1] == -1).all()
    assert np.flatnonzero(batch.predicts_seg[1]).tolist() == [9]


def test_too_long_a_prompt_is_named():
    with pytest.raises(ValueError, match="12 positions does not fit into 11"):
        left_pad([expand(IMAGE, 4, SEG)], length=11, pad_id=0)
