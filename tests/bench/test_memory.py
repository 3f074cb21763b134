"""Tracking a longer video does not take more memory."""

import pytest

from vglamm_jax.bench import memory


@pytest.mark.slow
def test_peak_does_not_grow_with_the_video():
    """40 frames more are 237 MiB as pixels: neither are they read beforehand, nor kept."""
    (row,) = memory.run((42,), size=(1080, 1920))
    assert row.frames == 42
    assert row.peak_mib < row.ready_mib + 150


def test_a_clip_of_one_frame_is_refused():
    with pytest.raises(ValueError, match="at least 2 frames, got 1"):
        memory.run((64, 1))


def test_a_failed_process_says_why(tmp_path):
    with pytest.raises(ValueError, match=r"tracking 2 frames failed: .*there is no config 'missing'"):
        memory.run((2,), config="missing", size=(64, 64))
