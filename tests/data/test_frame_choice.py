"""Which frames of a video are tracked, and which of those the encoders see."""

import pytest

from vglamm_jax.data.clip_maker import make_clip, scene_frames
from vglamm_jax.data.video import VideoError, encoder_frames, open_video, sample
from vglamm_jax.data.video_writer import write_video


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ({}, [0, 12, 24, 36]),
        ({"fps": 4}, list(range(0, 48, 3))),
        ({"stride": 20}, [0, 20, 40]),
        ({"stride": 20, "fps": 7}, [0, 20, 40]),
        ({"fps": 12, "max_frames": 5}, [0, 11, 23, 35, 47]),
        ({"every_frame": True, "max_frames": 5}, list(range(48))),
        ({"stride": 1, "max_frames": None}, list(range(48))),
        ({"start": 1.0, "end": 3.0}, [12, 24, 36]),
        ({"fps": 100}, list(range(48))),
    ],
)
def test_sampling(clip, kwargs, expected):
    assert sample(clip, **kwargs).tolist() == expected


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return open_video(make_clip(tmp_path_factory.mktemp("clip") / "demo.mp4", 4, 12, (48, 64)))


def test_slow_video_keeps_every_frame(tmp_path):
    """The original's stride is 0 below half a frame a second, and it fails."""
    video = open_video(write_video(tmp_path / "slow.mp4", [frame for frame, _ in scene_frames(4, (48, 64))], 0.4))
    assert sample(video).tolist() == [0, 1, 2, 3]


def test_the_slowest_rate_is_one_frame(clip):
    assert sample(clip, fps=1e-310).tolist() == [0]


@pytest.mark.parametrize("every_frame", [False, True])
@pytest.mark.parametrize(
    "kwargs", [{"fps": 0}, {"fps": float("nan")}, {"fps": float("inf")}, {"stride": -3}, {"max_frames": 0}]
)
def test_bad_sampling(clip, kwargs, every_frame):
    with pytest.raises(VideoError, match="must be above 0 and finite"):
        sample(clip, **kwargs, every_frame=every_frame)


@pytest.mark.parametrize("window", [(9.0, None), (3.0, 1.0)])
def test_empty_window(clip, window):
    with pytest.raises(VideoError, match=r"demo\.mp4: no frame between"):
        sample(clip, start=window[0], end=window[1])


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (20, "0 1 2 3 5 6 7 8 10 11 12 13 15 16 17 19"),
        (40, "0 2 5 7 10 13 15 18 20 23 26 28 31 33 36 39"),
        (64, "0 4 8 12 16 21 25 29 33 37 42 46 50 54 58 63"),
        (16, "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15"),
        (3, "0 1 2 2 2 2 2 2 2 2 2 2 2 2 2 2"),
        (1, "0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0"),
    ],
)
def test_encoder_frames(count, expected):
    assert encoder_frames(count, 16).tolist() == [int(i) for i in expected.split()]
