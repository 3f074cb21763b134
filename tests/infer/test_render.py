"""Pictures of answers: the right colours at the right places, at the right time."""

from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from vglamm_jax.data.clip_maker import make_clip, scene_frames
from vglamm_jax.data.video import open_video, sample
from vglamm_jax.infer import fonts
from vglamm_jax.infer.answer import make_answer
from vglamm_jax.infer.caption import BACKGROUND, TEXT, Chip, caption_strip, palette
from vglamm_jax.infer.render import contact_sheet, overlay, paint

SIZE = (240, 480)
RAW = "<p>The red ball</p> [SEG] rolls past <p>a box</p> [SEG]. Sure, [SEG]."


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return open_video(make_clip(tmp_path_factory.mktemp("clip") / "demo.mp4", 2, 12, SIZE))


def answer_about(video, indices, raw=RAW):
    truth = [masks for _, masks in scene_frames(len(video), video.size)]
    frames = [SimpleNamespace(logits=truth[i] - 0.5, iou=np.ones(3), object_score=np.ones(3)) for i in indices]
    return make_answer(raw, [1], frames, size=video.size, frame_indices=indices, timestamps=video.timestamps[indices])


def has_colour(image, colour, tolerance=30):
    return (np.abs(image.astype(int) - colour).max(-1) <= tolerance).any()


def test_overlay_is_playable_and_keeps_time(video, tmp_path):
    indices = sample(video, fps=4)
    path = overlay(answer_about(video, indices), video, tmp_path / "overlay.mp4")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
    shown = open_video(path)
    np.testing.assert_allclose(shown.timestamps, video.timestamps[indices], atol=1e-3)
    assert shown.size[1] == SIZE[1]
    assert shown.size[0] > SIZE[0]


def test_caption_has_the_colours_of_the_masks(video, tmp_path):
    path = overlay(answer_about(video, np.array([0, 12])), video, tmp_path / "overlay.mp4")
    frame = next(open_video(path).frames())
    picture, caption = frame[: SIZE[0]], frame[SIZE[0] :]
    for i in range(3):
        assert has_colour(picture, palette(i), 60)
        assert has_colour(caption, palette(i))
    assert not has_colour(caption, palette(3))


def test_progress_is_told(video, tmp_path):
    told = []
    overlay(
        answer_about(video, np.array([0, 5, 9])), video, tmp_path / "o.mp4", progress=lambda *what: told.append(what)
    )
    assert told == [("rendering", n, 3, "frame") for n in (1, 2, 3)]


def test_one_frame_and_no_object(video, tmp_path):
    answer = make_answer(
        "Nothing.", [1], [], size=video.size, frame_indices=np.array([3]), timestamps=video.timestamps[[3]]
    )
    shown = open_video(overlay(answer, video, tmp_path / "o.mp4"))
    assert len(shown) == 1
    assert np.abs(next(shown.frames())[: SIZE[0]].astype(int) - next(video.frames([3]))).mean() < 3


@pytest.mark.parametrize("size", [(33, 55), (120, 60)])
def test_small_and_odd_videos_are_enlarged(tmp_path, size):
    video = open_video(make_clip(tmp_path / "c.mp4", 0.5, 8, size))
    answer = answer_about(video, np.array([0, 2]))
    height, width = open_video(overlay(answer, video, tmp_path / "o.mp4")).size
    assert width == 480
    assert height > 480 * video.size[0] / video.size[1]


@pytest.mark.parametrize("size", [(100, 16500), (3000, 8)])
def test_long_pictures_fit_a_video(tmp_path, size):
    Image.new("RGB", size[::-1], (0, 200, 0)).save(tmp_path / "long.png")
    video = open_video(tmp_path / "long.png")
    answer = make_answer("A wall.", [1], [], size=size, frame_indices=np.array([0]), timestamps=np.zeros(1))
    shown = open_video(overlay(answer, video, tmp_path / "o.mp4"))
    assert 480 <= shown.size[1] <= 4096 and shown.size[0] <= 4096
    frame = next(shown.frames())
    assert has_colour(frame, (0, 200, 0)) and has_colour(frame, TEXT)


def test_another_video_is_refused(video, tmp_path):
    other = open_video(make_clip(tmp_path / "other.mp4", 1, 12, (100, 100)))
    short = open_video(make_clip(tmp_path / "short.mp4", 0.5, 12, SIZE))
    answer = answer_about(video, np.array([0, 20]))
    for wrong in (other, short):
        with pytest.raises(ValueError, match="give the video that was asked about"):
            overlay(answer, wrong, tmp_path / "o.mp4")
        with pytest.raises(ValueError, match="give the video that was asked about"):
            contact_sheet(answer, wrong)


def test_contact_sheet(video, tmp_path):
    answer = answer_about(video, sample(video, every_frame=True))
    sheet = contact_sheet(answer, video, tmp_path / "sheet.png", frames=6, columns=3, width=600)
    assert sheet.width == 600
    assert np.array_equal(np.asarray(Image.open(tmp_path / "sheet.png")), np.asarray(sheet))
    cell = 600 // 3 * SIZE[0] // SIZE[1]
    assert sheet.height > 2 * cell
    for i in range(3):
        assert has_colour(np.asarray(sheet)[: 2 * cell], palette(i), 40)
        assert has_colour(np.asarray(sheet)[2 * cell + 10 :], palette(i), 5)
    assert contact_sheet(answer_about(video, np.array([0])), video).width == 1280


def test_paint_changes_nothing_outside_the_rim():
    frame = np.full((60, 80, 3), 100, np.uint8)
    mask = np.zeros((1, 60, 80), bool)
    mask[0, 20:40, 30:50] = True
    out = paint(frame, mask)
    assert (out[:18] == 100).all()
    assert (out[30, 40] == np.round(100 * 0.6 + np.array(palette(0)) * 0.4)).all()
    assert (out[20, 40] == palette(0)).all()
    assert (frame == 100).all()


def test_no_rim_along_the_border_of_the_frame():
    frame = np.full((60, 80, 3), 100, np.uint8)
    out = paint(frame, np.ones((1, 60, 80), bool))
    assert (out == out[30, 40]).all()


def test_colours_stay_apart():
    colours = np.array([palette(i) for i in range(20)], int)
    distances = np.abs(colours[:, None] - colours[None]).sum(-1) + np.eye(20, dtype=int) * 999
    assert distances.min() > 40


@pytest.mark.parametrize("text", ["word " * 400, "x" * 500, "", "\n\n", "one\ntwo"])
def test_any_text_fits(text):
    strip = caption_strip(text, [Chip(0, min(30, len(text)), palette(0))], 300, 200)
    assert strip.width == 300
    assert strip.height <= 202


def test_long_text_is_set_smaller_first():
    short = caption_strip("word " * 5, [], 1000, 400)
    long = caption_strip("word " * 150, [], 1000, 400)
    assert short.height < long.height <= 400
    assert np.asarray(long)[-12:].max() == max(BACKGROUND)  # nothing was cut


@pytest.mark.parametrize("text", ["мяч", "红色的球", "ねこ", "고양이"])
def test_other_scripts_are_drawn(text):
    if not hasattr(fonts.cv2, "FontFace"):
        pytest.skip("this OpenCV has no fonts of its own")
    drawn = [np.asarray(caption_strip(character, [], 200, 100)) for character in text[:2]]
    boxes = np.asarray(caption_strip("\U000f0000", [], 200, 100))
    assert not np.array_equal(drawn[0], drawn[1])
    assert all(not np.array_equal(picture, boxes) for picture in drawn)
