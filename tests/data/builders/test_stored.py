"""How the frames of an example are stored."""

import io

import numpy as np
import pytest
from PIL import Image

from vglamm_jax.data import masks
from vglamm_jax.data.builders.stored import Storage, restored, stored
from vglamm_jax.data.open_media import open_media
from vglamm_jax.data.schema import BadRecord, Example, Media, Obj, Turn
from vglamm_jax.data.video_writer import write_video

TURNS = (Turn(question="What?", answer="Grey, brighter and brighter."),)


def greys(count: int) -> list[np.ndarray]:
    """Frames [24, 32, 3] of one colour each: 4, 8, 12 ..."""
    return [np.full((24, 32, 3), 4 * n + 4, np.uint8) for n in range(count)]


@pytest.fixture
def clip(tmp_path) -> Media:
    write_video(tmp_path / "clip.mp4", greys(25), fps=10, lossless=True)
    return Media(kind="video", path="clip.mp4", size=(24, 32), length=25, fps=10.0)


def brightness(example: Example) -> list[int]:
    frames = open_media(example.media, ".").frames()
    return [round(float(frame.mean())) for frame in frames]


def test_a_video_without_objects_keeps_two_frames_a_second(tmp_path, clip):
    record = stored(Example(id="a", media=clip, turns=TURNS), tmp_path, Storage())
    example = restored(record.text, record.frames)
    assert (example.media.length, example.media.fps, example.media.size) == (5, 2.0, (24, 32))
    np.testing.assert_allclose(brightness(example), [4 * n + 4 for n in (0, 5, 10, 15, 20)], atol=2)
    assert example.turns == TURNS and example.media.path == "clip.mp4"


def test_a_video_can_be_made_smaller_and_kept_whole(tmp_path, clip):
    record = stored(Example(id="a", media=clip, turns=TURNS), tmp_path, Storage(fps=0, short_side=12, quality=50))
    example = restored(record.text, record.frames)
    assert (example.media.length, example.media.fps, example.media.size) == (25, 10.0, (12, 16))
    assert Image.open(io.BytesIO(record.frames[0])).size == (16, 12)
    np.testing.assert_allclose(brightness(example), [4 * n + 4 for n in range(25)], atol=2)


def test_frames_of_objects_keep_their_numbers_and_size(tmp_path, clip):
    square = np.zeros((24, 32), bool)
    square[4:8, 4:8] = True
    thing = Obj(id="x", masks={7: masks.encode(square), 8: None})
    record = stored(Example(id="a", media=clip, turns=TURNS, objects=(thing,)), tmp_path, Storage(short_side=12))
    example = restored(record.text, record.frames)
    assert (example.media.length, example.media.size, example.objects) == (25, (24, 32), (thing,))
    np.testing.assert_allclose(brightness(example)[7], 32, atol=2)


def test_times_of_a_video_of_varying_rate_are_kept(tmp_path):
    times = [0.0, 0.1, 0.2, 0.3, 2.3, 2.4]
    write_video(tmp_path / "clip.mp4", greys(6), fps=10, times=times, lossless=True)
    media = Media(kind="video", path="clip.mp4", size=(24, 32), length=6)
    record = stored(Example(id="a", media=media, turns=TURNS), tmp_path, Storage(fps=1.0))
    example = restored(record.text, record.frames)
    # At 0 s the first frame is shown, at 1 and 2 s the fourth.
    assert brightness(example) == pytest.approx([4, 16, 16], abs=2) and example.media.fps == 1.0


def test_what_cannot_be_stored(tmp_path, clip):
    def reason(media: Media) -> str:
        record = stored(Example(id="a", source="s", media=media, turns=TURNS), tmp_path, Storage())
        assert isinstance(record, BadRecord) and (record.source, record.id) == ("s", "a")
        return record.reason

    Image.new("RGB", (32, 20)).save(tmp_path / "p.png")
    assert "p.png: is 32x20, not 32x24" in reason(Media(kind="image", frames=("p.png",), size=(24, 32), length=1))
    assert "the example says" in reason(Media(kind="video", path="clip.mp4", size=(24, 32), length=24))
    assert "media.length" in reason(Media(kind="video", path="clip.mp4", size=(24, 32), length=0))
    (tmp_path / "clip.mp4").write_bytes((tmp_path / "clip.mp4").read_bytes()[:500])
    assert "clip.mp4" in reason(clip)
    with pytest.raises(ValueError, match="quality 1 to 100"):
        Storage(quality=0)
