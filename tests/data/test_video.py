"""Video files: exact pixels, true times, rotation, seeking, and a clear error for every way a file can be bad."""

from fractions import Fraction

import av
import numpy as np
import pytest

from vglamm_jax.data.clip_maker import scene_frames
from vglamm_jax.data.video import VideoError, open_video, sample
from vglamm_jax.data.video_writer import write_video


def moving(count, size=(48, 64)):
    return [frame for frame, _ in scene_frames(count, size)]


def encode(path, frames, codec, pix_fmt, rate=10, rotation=None, times=None, **options):
    """A file of any codec; `times` are in ticks of 1/100 s."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        if rotation:
            stream.set_display_rotation(rotation)
        if times:
            stream.codec_context.time_base = Fraction(1, 100)
        for i, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgba" if frame.shape[-1] == 4 else "rgb24")
            if times:
                picture.pts, picture.time_base = times[i], Fraction(1, 100)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def without_packets(path, copy, dropped):
    """The stream of a file as it is, but for its first packets."""
    with av.open(str(path)) as source, av.open(str(copy), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.dts is not None]
        for packet in packets[dropped:]:
            packet.stream = stream
            container.mux(packet)
    return copy


def silence():
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 4000), np.int16), layout="mono")
    frame.sample_rate = 8000
    return frame


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory):
    """100 frames with b-frames and a key frame every 10."""
    path = tmp_path_factory.mktemp("clip") / "long.mp4"
    return encode(path, moving(100), "libx264", "yuv420p", g="10", bf="3")


@pytest.fixture(scope="module")
def fast_start(tmp_path_factory):
    """The index in front, as on the web: a cut file still opens."""
    return write_video(tmp_path_factory.mktemp("clip") / "web.mp4", moving(60), 10)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "options"),
    [
        ("x.mp4", "libx264rgb", "rgb24", {"crf": "0"}),
        ("x.mkv", "ffv1", "bgr0", {}),
        ("x.mov", "libx264rgb", "rgb24", {"crf": "0"}),
    ],
)
def test_lossless_files_give_back_every_pixel(tmp_path, name, codec, pix_fmt, options):
    frames = moving(7, (37, 53))
    video = open_video(encode(tmp_path / name, frames, codec, pix_fmt, **options))
    assert (video.size, len(video), video.kind) == ((37, 53), 7, "video")
    assert video.fps == pytest.approx(10)
    np.testing.assert_allclose(video.timestamps, np.arange(7) / 10, atol=1e-3)
    np.testing.assert_array_equal(list(video.frames()), frames)


def test_golden_frames_through_a_lossless_file(golden, tmp_path):
    frames = np.load(golden / "inputs.npz")["frames"]
    video = open_video(write_video(tmp_path / "dog.mp4", frames, 1.0, lossless=True))
    assert video.fps == pytest.approx(1.0)
    for ours, theirs in zip(video.frames(sample(video)), frames, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_golden_frames_from_their_folder(golden, davis):
    frames = np.load(golden / "inputs.npz")["frames"]
    video = open_video(davis / "JPEGImages" / "dog")
    chosen = sample(video, stride=10)
    assert chosen.tolist() == [0, 10, 20, 30, 40, 50]
    for ours, theirs in zip(video.frames(chosen), frames, strict=True):
        assert np.abs(ours.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize(
    "indices", [[5], [55, 56, 57], [0, 33, 66, 99], [12, 95], [99], list(range(0, 100, 12)), [3, 3, 40, 40], []]
)
def test_any_selection_equals_decoding_everything(long_clip, indices):
    video = open_video(long_clip)
    everything = list(video.frames())
    assert len(everything) == len(video) == 100
    chosen = list(video.frames(indices))
    assert len(chosen) == len(indices)
    for frame, i in zip(chosen, indices):
        np.testing.assert_array_equal(frame, everything[i])


def test_frames_come_in_the_order_they_are_shown(long_clip):
    for frame, original in zip(open_video(long_clip).frames(), moving(100), strict=True):
        assert np.abs(frame.astype(int) - original).mean() < 8


def test_decoding_is_lazy(long_clip, monkeypatch):
    converted = []
    to_ndarray = av.VideoFrame.to_ndarray
    from vglamm_jax.data import video_file

    monkeypatch.setattr(video_file, "rgb", lambda frame, size: converted.append(1) or to_ndarray(frame, format="rgb24"))
    stream = open_video(long_clip).frames()
    assert not converted
    next(stream)
    assert len(converted) == 1


@pytest.mark.parametrize("indices", [[3, 1], [-1], [100]])
def test_bad_indices(long_clip, indices):
    with pytest.raises(IndexError, match=r"must increase and lie in 0\.\.99"):
        open_video(long_clip).frames(indices)


@pytest.mark.parametrize(("rotation", "turns"), [(90, 1), (180, 2), (-90, 3)])
def test_rotation_flag(tmp_path, rotation, turns):
    frames = moving(3)
    path = encode(tmp_path / "r.mp4", frames, "libx264rgb", "rgb24", rotation=rotation, crf="0")
    video = open_video(path)
    assert video.size == np.rot90(frames[0], turns).shape[:2]
    for ours, stored in zip(video.frames(), frames, strict=True):
        np.testing.assert_array_equal(ours, np.rot90(stored, turns))


def test_mirrored_display_matrix(tmp_path):
    path = encode(tmp_path / "m.mp4", moving(2), "libx264rgb", "rgb24", rotation=180, crf="0")
    data = bytearray(path.read_bytes())
    matrix = data.index((-65536).to_bytes(4, "big", signed=True))
    data[matrix : matrix + 4] = (65536).to_bytes(4, "big", signed=True)  # keeps the columns, still flips the rows
    path.write_bytes(data)
    np.testing.assert_array_equal(next(open_video(path).frames()), moving(2)[0][::-1])


def test_variable_frame_rate_keeps_its_times(tmp_path):
    ticks = [0, 10, 20, 100, 150, 151, 400]
    path = encode(tmp_path / "v.mkv", moving(7), "ffv1", "bgr0", times=ticks)
    video = open_video(path)
    np.testing.assert_allclose(video.timestamps, np.array(ticks) / 100, atol=1e-3)
    assert video.fps == pytest.approx(6 / 4.0, rel=0.01)
    assert sample(video, every_frame=True, start=0.2, end=1.5).tolist() == [2, 3, 4]
    np.testing.assert_array_equal(next(video.frames([4])), moving(7)[4])


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("x.webm", "libvpx-vp9", "yuv420p"),
        ("x.webm", "libvpx", "yuv420p"),
        ("x.gif", "gif", "rgb8"),
        ("x.avi", "mpeg4", "yuv420p"),
    ],
)
def test_other_containers(tmp_path, name, codec, pix_fmt):
    if codec not in av.codecs_available:
        pytest.skip(f"this build of PyAV cannot encode {codec}")
    frames = moving(24)
    video = open_video(encode(tmp_path / name, frames, codec, pix_fmt))
    assert (len(video), video.size) == (24, (48, 64))
    assert video.fps == pytest.approx(10, rel=0.01)
    decoded = list(video.frames())
    for i in (0, 13, 23):
        assert np.abs(decoded[i].astype(int) - frames[i]).mean() < 25
        np.testing.assert_array_equal(next(video.frames([i])), decoded[i])


def test_a_stream_without_time_stamps(tmp_path):
    path = encode(tmp_path / "raw.h264", moving(12), "libx264", "yuv420p", bf="2")
    video = open_video(path)
    decoded = list(video.frames())
    assert len(video) == len(decoded) == 12
    np.testing.assert_array_equal(next(video.frames([7])), decoded[7])


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "kind"),
    [
        ("x.gif", "gif", "rgb8", "image"),
        ("x.avif", "libsvtav1", "yuv420p", "image"),
        ("x.jfif", "mjpeg", "yuvj420p", "image"),
        ("x.mp4", "libx264", "yuv420p", "video"),
    ],
)
def test_one_frame_is_an_image_where_the_format_is_one_of_pictures(tmp_path, name, codec, pix_fmt, kind):
    if codec not in av.codecs_available:
        pytest.skip(f"this build of PyAV cannot encode {codec}")
    path = tmp_path / name
    still = encode(tmp_path / "x.jpg" if name == "x.jfif" else path, moving(1), codec, pix_fmt).rename(path)
    video = open_video(still)
    assert (video.kind, len(video), video.size) == (kind, 1, (48, 64))
    assert np.abs(next(video.frames()).astype(int) - moving(1)[0]).mean() < 25


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("x.ts", "libx264"),
        ("x.mkv", "libx264"),
        ("x.mp4", "libx264"),
        ("x.ts", "mpeg2video"),
        ("x.webm", "libvpx-vp9"),
    ],
)
def test_a_recording_that_starts_between_key_frames_starts_at_the_next(tmp_path, name, codec):
    if codec not in av.codecs_available:
        pytest.skip(f"this build of PyAV cannot encode {codec}")
    whole = encode(tmp_path / f"whole-{name}", moving(36), codec, "yuv420p", g="12")
    video = open_video(without_packets(whole, tmp_path / name, 5))
    decoded = list(video.frames())
    np.testing.assert_array_equal(decoded, list(open_video(whole).frames())[12:])
    np.testing.assert_allclose(video.timestamps, np.arange(24) / 10, atol=1e-3)
    for i in (0, 7, 12, 23):
        np.testing.assert_array_equal(next(video.frames([i])), decoded[i])


def test_single_frames_of_a_program_stream(tmp_path):
    video = open_video(encode(tmp_path / "x.mpg", moving(60), "mpeg2video", "yuv420p", g="12", bf="2"))
    decoded = list(video.frames())
    for i in (30, 57, 58, 59):
        np.testing.assert_array_equal(next(video.frames([i])), decoded[i])


def test_a_raw_stream_that_starts_between_key_frames(tmp_path):
    whole = encode(tmp_path / "whole.h264", moving(36), "libx264", "yuv420p", g="12")
    with av.open(str(whole)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0)]
    (tmp_path / "x.h264").write_bytes(b"".join(packets[5:]))
    video = open_video(tmp_path / "x.h264")
    np.testing.assert_array_equal(list(video.frames()), list(open_video(whole).frames())[12:])
    assert len(video) == 24


def test_an_edit_list_that_hides_the_key_frame_hides_nothing_else(tmp_path):
    path, frames = tmp_path / "x.mp4", moving(24)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=10, options={"crf": "0", "g": "12", "bf": "0"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "rgb24"
        stream.codec_context.time_base = Fraction(1, 10)
        for i, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = i - 3, Fraction(1, 10)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    np.testing.assert_array_equal(list(open_video(path).frames()), frames[3:])


def test_alpha_is_shown_over_white(tmp_path):
    frame = np.zeros((16, 16, 4), np.uint8)
    frame[:8] = (200, 10, 10, 255)
    frame[8:] = (0, 0, 0, 0)
    image = next(open_video(encode(tmp_path / "a.mov", [frame] * 2, "qtrle", "argb")).frames())
    assert (image[:8] == (200, 10, 10)).all()
    assert (image[8:] == 255).all()


def test_ten_bit_colour(tmp_path):
    frames = moving(2)
    video = open_video(encode(tmp_path / "t.mkv", frames, "ffv1", "yuv444p10le"))
    assert np.abs(next(video.frames()).astype(int) - frames[0]).max() <= 3


def test_a_file_with_sound_first(tmp_path):
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("pcm_s16le", rate=8000)
        stream = container.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "bgr0"
        container.mux(sound.encode(silence()))
        for frame in moving(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
    assert len(list(open_video(path).frames())) == 5


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.mp4", b"hello, this is text\n" * 99, "not a readable video"),
        ("notes.txt", b"hello, this is text\n" * 99, "not a readable video but text"),
        ("empty.mp4", b"", "the file is empty"),
    ],
)
def test_not_a_video(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(VideoError, match=message) as error:
        open_video(tmp_path / name)
    assert name in one_line(error)


def test_missing_file_and_address(tmp_path):
    with pytest.raises(VideoError, match=r"nowhere\.mp4: no such file"):
        open_video(tmp_path / "nowhere.mp4")
    with pytest.raises(VideoError, match="download the video"):
        open_video("https://example.org/clip.mp4")


def test_sound_only(tmp_path):
    with av.open(str(tmp_path / "s.mka"), "w", format="matroska") as container:
        sound = container.add_stream("pcm_s16le", rate=8000)
        container.mux(sound.encode(silence()))
    with pytest.raises(VideoError, match="no video stream"):
        open_video(tmp_path / "s.mka")


def test_zero_frames(tmp_path):
    path = tmp_path / "zero.mkv"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("pcm_s16le", rate=8000)
        stream = container.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "bgr0"
        container.mux(sound.encode(silence()))
    with pytest.raises(VideoError, match="has no frames") as error:
        open_video(path)
    assert "zero.mkv" in one_line(error)


def test_cut_before_its_index(long_clip, tmp_path):
    (tmp_path / "cut.mp4").write_bytes(long_clip.read_bytes()[:-300])
    with pytest.raises(VideoError, match="may be cut short") as error:
        open_video(tmp_path / "cut.mp4")
    one_line(error)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_cut_in_the_middle(fast_start, tmp_path, share):
    data = fast_start.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(VideoError, match=r"cut\.mp4: cut short, \d+ of 60 frames can be read") as error:
        open_video(tmp_path / "cut.mp4")
    readable = int(one_line(error).split(" of 60")[0].split()[-1])
    video = open_video(tmp_path / "cut.mp4", allow_truncated=True)
    assert 0 < len(video) == readable < 60
    assert len(list(video.frames())) == readable


def test_cut_webm_is_noticed_by_its_duration(tmp_path):
    path = encode(tmp_path / "w.mkv", moving(40), "ffv1", "bgr0")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(VideoError, match=r"cut short, \d+ of 40"):
        open_video(path)
    assert len(open_video(path, allow_truncated=True)) < 40


def test_damage_in_the_middle(tmp_path):
    path = encode(tmp_path / "d.mkv", moving(20, (96, 128)), "ffv1", "bgr0", g="1", slicecrc="1")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 400] = bytes(400)
    path.write_bytes(data)
    with pytest.raises(VideoError, match=r"d\.mkv: (damaged|cut short)") as error:
        list(open_video(path).frames())
    one_line(error)
