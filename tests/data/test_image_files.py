"""Folders of pictures, single pictures and animated ones."""

import cv2
import numpy as np
import pytest
from PIL import Image

from vglamm_jax.data.clip_maker import scene_frames
from vglamm_jax.data.video import VideoError, open_video, sample


@pytest.fixture
def frames():
    return [frame for frame, _ in scene_frames(12, (37, 53))]


@pytest.fixture
def folder(tmp_path, frames):
    """frame1.png ... frame12.png, which sort wrongly as text, among files that are not frames."""
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"frame{i + 1}.png")
    (tmp_path / "notes.txt").write_text("not a frame")
    (tmp_path / ".frame0.png").write_bytes(b"hidden")
    return tmp_path


def refused(path, message):
    with pytest.raises(VideoError, match=message) as error:
        list(open_video(path).frames())
    assert "\n" not in str(error.value)
    assert path.name in str(error.value)


def test_folder_in_natural_order(folder, frames):
    video = open_video(folder)
    assert (len(video), video.size, video.fps, video.kind) == (12, (37, 53), 30.0, "video")
    np.testing.assert_array_equal(list(video.frames()), frames)
    np.testing.assert_array_equal(list(video.frames([2, 9, 9])), [frames[2], frames[9], frames[9]])


def test_folder_frame_rate_is_what_the_caller_says(folder):
    assert sample(open_video(folder)).tolist() == [0]
    video = open_video(folder, source_fps=4)
    assert sample(video).tolist() == [0, 4, 8]
    np.testing.assert_allclose(video.timestamps[-1], 11 / 4)
    with pytest.raises(VideoError, match="must be above 0"):
        open_video(folder, source_fps=0)


def test_names_with_and_without_numbers(tmp_path, frames):
    for name in ("b.png", "2.png", "10.png", "a10x1.png", "a9x2.png"):
        Image.fromarray(frames[0]).save(tmp_path / name)
    assert [f.name for f in open_video(tmp_path).files] == ["2.png", "10.png", "a9x2.png", "a10x1.png", "b.png"]


def test_jpeg_is_decoded_by_opencv(tmp_path, frames):
    Image.fromarray(frames[0]).save(tmp_path / "x.jpg", quality=80)
    video = open_video(tmp_path / "x.jpg")
    assert (video.kind, len(video), sample(video).tolist()) == ("image", 1, [0])
    np.testing.assert_array_equal(next(video.frames()), cv2.imread(str(tmp_path / "x.jpg"))[..., ::-1])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_exif_orientation(tmp_path, frames, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(frames[0]).save(path, exif=exif, lossless=True)
    from PIL import ImageOps

    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    np.testing.assert_array_equal(next(open_video(path).frames()), expected)
    assert open_video(path).size == open_video(tmp_path).size == expected.shape[:2]


def test_unknown_exif_orientation_is_ignored(tmp_path, frames):
    exif = Image.Exif()
    exif[0x0112] = 42
    Image.fromarray(frames[0]).save(tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(next(open_video(tmp_path / "x.png").frames()), frames[0])


def test_alpha_grey_and_sixteen_bits(tmp_path):
    rgba = np.zeros((6, 8, 4), np.uint8)
    rgba[:3] = (10, 200, 30, 255)
    Image.fromarray(rgba).save(tmp_path / "alpha.png")
    image = next(open_video(tmp_path / "alpha.png").frames())
    assert (image[:3] == (10, 200, 30)).all()
    assert (image[3:] == 255).all()
    Image.fromarray(np.full((6, 8), 77, np.uint8)).save(tmp_path / "grey.png")
    assert (next(open_video(tmp_path / "grey.png").frames()) == 77).all()
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((6, 8, 3), 40000, np.uint16))
    assert np.abs(next(open_video(tmp_path / "deep.png").frames()).astype(int) - 156).max() <= 1


@pytest.mark.parametrize("suffix", ["webp", "png"])
def test_animated_picture(tmp_path, frames, suffix):
    path = tmp_path / f"x.{suffix}"
    images = [Image.fromarray(frame) for frame in frames[:4]]
    images[0].save(path, save_all=True, append_images=images[1:], duration=[100, 200, 300, 400], lossless=True)
    video = open_video(path)
    assert (len(video), video.size, video.kind) == (4, (37, 53), "video")
    np.testing.assert_allclose(video.timestamps, [0, 0.1, 0.3, 0.6])
    assert video.fps == pytest.approx(4.0)
    np.testing.assert_array_equal(list(video.frames()), frames[:4])
    np.testing.assert_array_equal(next(video.frames([2])), frames[2])


@pytest.mark.parametrize("suffix", ["webp", "png"])
def test_animated_picture_is_upright(tmp_path, frames, suffix):
    path = tmp_path / f"x.{suffix}"
    images = [Image.fromarray(frame) for frame in frames[:3]]
    exif = Image.Exif()
    exif[0x0112] = 6
    images[0].save(path, save_all=True, append_images=images[1:], lossless=True, exif=exif)
    video = open_video(path)
    assert video.size == (53, 37)
    np.testing.assert_array_equal(list(video.frames()), [np.rot90(frame, -1) for frame in frames[:3]])


@pytest.mark.parametrize(("name", "form"), [("phone.jpg", "MPO"), ("pages.tif", "TIFF")])
def test_a_photo_with_another_picture_behind_it_is_one_picture(tmp_path, frames, name, form):
    preview = Image.fromarray(frames[1]).resize((20, 10))
    Image.fromarray(frames[0]).save(tmp_path / name, format=form, save_all=True, append_images=[preview])
    video = open_video(tmp_path / name)
    assert (video.kind, len(video), video.size) == ("image", 1, (37, 53))
    assert np.abs(next(video.frames()).astype(int) - frames[0]).mean() < 8


def test_gif_keeps_its_times_and_shows_transparency_over_white(tmp_path):
    images = []
    for column in (2, 6, 10):
        pixels = np.zeros((16, 16, 4), np.uint8)
        pixels[4:12, column : column + 4] = (0, 0, 255, 255)
        images.append(Image.fromarray(pixels))
    images[0].save(tmp_path / "x.gif", save_all=True, append_images=images[1:], duration=[100, 500, 100], disposal=2)
    video = open_video(tmp_path / "x.gif")
    np.testing.assert_allclose(video.timestamps, [0, 0.1, 0.6])
    for column, frame in zip((2, 6, 10), video.frames(), strict=True):
        assert (frame[8, column + 1] == (0, 0, 255)).all()
        assert (frame[0, 0] == 255).all()


def test_folder_of_different_sizes(folder):
    Image.new("RGB", (20, 10)).save(folder / "frame13.png")
    with pytest.raises(VideoError, match=r"frame13\.png: 20x10 pixels, but the first frame frame1\.png is 53x37"):
        open_video(folder)


def test_empty_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "no pictures in this folder")


def test_folder_with_a_file_that_is_no_picture(folder):
    (folder / "frame5.png").write_text("hello")
    with pytest.raises(VideoError, match=r"frame5\.png: not a readable picture"):
        open_video(folder)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp"])
def test_cut_short_picture(tmp_path, frames, suffix):
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(frames[0]).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    refused(path, "not a readable picture")
    path.write_bytes(data + b"trailing bytes" * 99)
    if suffix in ("jpg", "png", "bmp"):
        assert next(open_video(path).frames()).shape == (37, 53, 3)


def test_cut_short_animation(tmp_path, frames):
    images = [Image.fromarray(frame) for frame in frames[:4]]
    path = tmp_path / "x.webp"
    images[0].save(path, save_all=True, append_images=images[1:], lossless=True)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])
    refused(path, "not a readable picture|cannot be decoded")
