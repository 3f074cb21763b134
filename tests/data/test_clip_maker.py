"""The demo clip and the writer beneath it."""

import av
import numpy as np
import pytest

from vglamm_jax.data import video_writer
from vglamm_jax.data.clip_maker import SCENE, make_clip, scene_frames
from vglamm_jax.data.video import open_video
from vglamm_jax.data.video_writer import write_video


def test_clip_is_small_playable_and_moves(tmp_path):
    path = make_clip(tmp_path / "new" / "demo.mp4", seconds=2, fps=10, size=(120, 160))
    assert path.stat().st_size < 100_000
    video = open_video(path)
    assert (len(video), video.size, video.fps) == (20, (120, 160), 10)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
    first, *_, last = video.frames()
    assert np.abs(first.astype(int) - last).mean() > 3


def test_masks_show_each_shape_where_it_is():
    frame, masks = next(scene_frames(5, (120, 160)))
    assert masks.shape == (len(SCENE), 120, 160)
    assert (masks.sum(0) <= 1).all()
    red, blue, _ = (frame[mask].mean(0) for mask in masks)
    assert red.argmax() == 0
    assert blue.argmax() == 2


def test_odd_sizes_are_padded_by_their_edge(tmp_path):
    frame = np.full((33, 55, 3), 90, np.uint8)
    video = open_video(write_video(tmp_path / "odd.mp4", [frame] * 5, 7.5))
    assert video.size == (34, 56)
    assert video.fps == pytest.approx(7.5)
    assert np.abs(next(video.frames()).astype(int) - 90).max() < 4


def test_given_times(tmp_path):
    times = [0, 0.1, 0.5, 2, 2.25]
    path = write_video(tmp_path / "x.mp4", [np.zeros((32, 32, 3), np.uint8)] * 5, 10, times=times)
    np.testing.assert_allclose(open_video(path).timestamps, times, atol=1e-4)


def test_nothing_is_left_of_a_failed_write(tmp_path):
    def broken():
        yield np.zeros((32, 32, 3), np.uint8)
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_video(tmp_path / "x.mp4", broken(), 10)
    with pytest.raises(ValueError, match="no frames to write"):
        write_video(tmp_path / "x.mp4", [], 10)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("folder", "height", "message"),
    [("", 20_000, r"x\.mp4: .* give frames of at most 4096"), ("/proc", 32, r"/proc/x\.mp4: .* check its folder")],
)
def test_what_ffmpeg_cannot_write_is_one_line(tmp_path, folder, height, message):
    with pytest.raises(ValueError, match=message) as error:
        write_video(tmp_path / folder / "x.mp4", [np.zeros((height, 480, 3), np.uint8)], 10)
    assert "\n" not in str(error.value)


def test_without_h264_another_codec_is_used_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr(video_writer, "_CODECS", ("no-such-h264", "libvpx-vp9", "mpeg4"))
    with pytest.warns(UserWarning, match="no H.264 encoder: writing libvpx-vp9"):
        path = write_video(tmp_path / "x.mp4", [np.zeros((32, 32, 3), np.uint8)] * 3, 10)
    assert len(open_video(path)) == 3
