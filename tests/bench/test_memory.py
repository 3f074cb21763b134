"""Tracking a longer video does not take more memory."""

import pytest

from vglamm_jax.bench import memory


@pytest.mark.slow
def test_peak_does_not_grow_with_the_video():
    short, long = memory.run((8, 48), size=(480, 854))
    assert (short.frames, long.frames) == (8, 48)
    # 40 more frames of this size are 47 MiB as pixels, 480 MiB as what the tracker is fed.
    assert long.peak_mib - short.peak_mib < 40
    assert long.peak_mib - long.ready_mib < 40


def test_a_clip_of_one_frame_is_refused():
    with pytest.raises(ValueError, match="at least 2 frames, got 1"):
        memory.run((64, 1))


def test_a_failed_process_says_why(tmp_path):
    with pytest.raises(ValueError, match=r"tracking 2 frames failed: .*there is no config 'missing'"):
        memory.run((2,), config="missing", size=(64, 64))
