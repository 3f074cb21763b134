"""The answer object: lazy masks, boxes, a JSON that survives the way to disk and back."""

import dataclasses
import json
import os
import tracemalloc
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from vglamm_jax.data.clip_maker import scene_frames
from vglamm_jax.infer.answer import Answer, AnswerError, make_answer
from vglamm_jax.infer.command import report

SIZE = (37, 53)
RAW = "<p>The ball</p> [SEG] passes the box [SEG] and a triangle [SEG].<|end|>"


@pytest.fixture(scope="module")
def truth():
    """bool [T, K, H, W]; the last object is gone in the last frame."""
    masks = np.stack([masks for _, masks in scene_frames(5, SIZE)])
    masks[-1, -1] = False
    return masks


def decoded(truth):
    """What the decoder would give for these masks, at their own size."""
    for t, masks in enumerate(truth):
        presence = np.where(masks.any((1, 2)), 4.0, -4.0)
        yield SimpleNamespace(logits=masks * 8.0 - 4.0, iou=np.full(len(masks), 0.5 + t / 10), object_score=presence)


def answer_about(truth, raw=RAW, **kwargs):
    frames = np.arange(len(truth)) * 10
    return make_answer(
        raw,
        [5, 511, 7],
        decoded(truth),
        size=SIZE,
        frame_indices=frames,
        timestamps=frames / 25,
        video="clip.mp4",
        prompt="Which?",
        **kwargs,
    )


@pytest.fixture
def answer(truth):
    return answer_about(truth)


def test_objects_have_the_words_they_belong_to(answer):
    assert answer.text == "The ball passes the box and a triangle."
    assert [thing.phrase for thing in answer.objects] == ["The ball", "the box", "a triangle"]
    for thing in answer.objects:
        assert answer.text[slice(*thing.span)] == thing.phrase


def test_masks_are_decoded_on_demand(answer, truth):
    for k, thing in enumerate(answer.objects):
        assert thing.masks.shape == (5, *SIZE)
        assert len(thing.masks) == 5
        np.testing.assert_array_equal(np.asarray(thing.masks), truth[:, k])
        np.testing.assert_array_equal(thing.mask(2), truth[2, k])
        np.testing.assert_array_equal(thing.masks[1:4], truth[1:4, k])
        assert thing.mask(0).dtype == np.asarray(thing.masks).dtype == bool
        assert sum(mask.sum() for mask in thing.masks) == truth[:, k].sum()


def test_logits_are_brought_to_the_size_of_the_video():
    small = np.full((1, 8, 8), -1.0, np.float32)
    small[0, :, :4] = 1.0
    frame = SimpleNamespace(logits=small, iou=np.ones(1), object_score=np.ones(1))
    answer = make_answer(
        "x [SEG]", [1], [frame], size=(30, 50), frame_indices=np.array([0]), timestamps=np.zeros(1), keep_logits=True
    )
    mask = answer.objects[0].mask(0)
    assert mask.shape == (30, 50)
    assert mask[:, :24].all()
    assert not mask[:, 26:].any()
    np.testing.assert_array_equal(answer.objects[0].logits, small)


def test_boxes_and_scores(answer, truth):
    thing = answer.objects[2]
    rows, columns = np.nonzero(truth[1, 2])
    np.testing.assert_array_equal(thing.boxes[1], [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    assert np.isnan(thing.boxes[4]).all()
    assert thing.present.tolist() == [True] * 4 + [False]
    np.testing.assert_allclose(thing.predicted_iou, [0.5, 0.6, 0.7, 0.8, 0.9])
    assert thing.logits is None


def test_json_round_trip(answer, truth):
    content = json.loads(json.dumps(answer.to_json()))
    again = Answer.from_json(content)
    assert again.to_json() == content
    assert (again.text, again.raw_text, again.token_ids, again.size) == (answer.text, RAW, [5, 511, 7], SIZE)
    np.testing.assert_array_equal(again.timestamps, answer.timestamps)
    for ours, theirs in zip(again.objects, answer.objects, strict=True):
        np.testing.assert_array_equal(np.asarray(ours.masks), np.asarray(theirs.masks))
        np.testing.assert_array_equal(ours.boxes, theirs.boxes)
        assert (ours.phrase, ours.span) == (theirs.phrase, theirs.span)


def test_json_follows_its_documentation(answer):
    content = answer.to_json()
    assert content["schema"] == "vglamm.answer/1"
    assert content["video"] == {"path": "clip.mp4", "size": [37, 53]}
    assert content["frames"] == {"index": [0, 10, 20, 30, 40], "time": [0.0, 0.4, 0.8, 1.2, 1.6]}
    thing = content["objects"][2]
    assert set(thing) == {"phrase", "span", "masks", "boxes", "predicted_iou", "presence", "present"}
    assert thing["boxes"][4] is None
    assert isinstance(thing["masks"][0]["counts"], str)


def test_saved_folder(answer, truth, tmp_path):
    path = answer.save(tmp_path / "out", masks_png=True)
    assert sorted(os.listdir(tmp_path / "out")) == ["answer.json", "masks"]
    assert sorted(os.listdir(tmp_path / "out" / "masks" / "1")) == [f"{i:05d}.png" for i in (0, 10, 20, 30, 40)]
    png = cv2.imread(str(tmp_path / "out" / "masks" / "1" / "00020.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(png, truth[2, 1] * 255)
    assert Answer.load(path).to_json() == Answer.load(tmp_path / "out").to_json() == answer.to_json()


def test_a_second_answer_replaces_the_first(answer, truth, tmp_path):
    answer.save(tmp_path, masks_png=True)
    answer_about(truth[:2, :1], "x [SEG]").save(tmp_path, masks_png=True)
    assert os.listdir(tmp_path / "masks") == ["0"]
    assert len(os.listdir(tmp_path / "masks" / "0")) == 2
    for picture in ("overlay.mp4", "answer.png"):
        (tmp_path / picture).write_bytes(b"of the first")
    answer.save(tmp_path)
    assert os.listdir(tmp_path) == ["answer.json"]


def test_a_question_about_an_overlay_keeps_it(answer, tmp_path):
    answer.save(tmp_path)
    asked = tmp_path / "overlay.mp4"
    asked.write_bytes(b"a video")
    dataclasses.replace(answer, video=str(asked)).save(tmp_path)
    assert asked.read_bytes() == b"a video"


@pytest.mark.parametrize("name", ["masks", "overlay.mp4", "answer.png"])
def test_what_no_answer_wrote_is_not_replaced(answer, tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "of_the_user").touch()
    with pytest.raises(AnswerError, match=rf"{name}: would be replaced, but is of no earlier answer; give another"):
        answer.save(tmp_path, masks_png=True)
    assert os.listdir(tmp_path) == [name] and (tmp_path / name / "of_the_user").exists()


@pytest.mark.parametrize(
    "words, streamed, printed", [("Hi.", False, "Hi."), ("Hi.", True, ""), ("", True, "(no words)")]
)
def test_words_are_printed_once(answer, words, streamed, printed, capsys):
    report(dataclasses.replace(answer, text=words), streamed)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == printed and len(lines) == 1 + len(answer.objects)


def test_failed_save_leaves_the_old_answer(answer, tmp_path, monkeypatch):
    answer.save(tmp_path)
    monkeypatch.setattr(Answer, "to_json", lambda self: {"bad": object()})
    with pytest.raises(TypeError):
        answer.save(tmp_path)
    monkeypatch.undo()
    assert Answer.load(tmp_path).text == answer.text


def test_answer_without_objects(tmp_path):
    def untouched():
        raise AssertionError("no frame is tracked for an answer without [SEG]")
        yield

    answer = make_answer(
        "I see nothing.<|end|>",
        [1],
        untouched(),
        size=SIZE,
        frame_indices=np.array([0, 5]),
        timestamps=np.array([0, 0.5]),
    )
    assert (answer.text, answer.objects) == ("I see nothing.", [])
    answer.save(tmp_path, masks_png=True)
    assert os.listdir(tmp_path) == ["answer.json"]
    assert Answer.load(tmp_path).objects == []


def test_numbers_that_do_not_fit(truth):
    with pytest.raises(ValueError, match=r"1 \[SEG\], but 3 objects"):
        answer_about(truth, "x [SEG]")
    with pytest.raises(ValueError, match="5 frames were chosen, but 3 were tracked"):
        make_answer(RAW, [], decoded(truth[:3]), size=SIZE, frame_indices=np.arange(5), timestamps=np.arange(5))


def test_memory_holds_one_frame():
    size, count = (480, 640), 30
    logits = np.full((2, 64, 64), -1.0, np.float32)
    logits[:, 10:40, 10:40] = 1.0
    frames = (SimpleNamespace(logits=logits, iou=np.ones(2), object_score=np.ones(2)) for _ in range(count))
    tracemalloc.start()
    answer = make_answer(
        "a [SEG] b [SEG]", [], frames, size=size, frame_indices=np.arange(count), timestamps=np.arange(count)
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(answer.objects[0].masks) == count
    assert peak < 12 * size[0] * size[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "schema is None"),
        ('{"schema": "vglamm.answer/9"}', r"expected 'vglamm\.answer/1'"),
        ('{"schema": "vglamm.answer/1", "video": {"size": [1, 1]}}', "field 'text' is missing"),
    ],
)
def test_bad_files(tmp_path, content, message):
    (tmp_path / "answer.json").write_text(content)
    with pytest.raises(AnswerError, match=message) as error:
        Answer.load(tmp_path)
    assert "answer.json" in str(error.value)


def test_missing_file(tmp_path):
    with pytest.raises(AnswerError, match="No such file"):
        Answer.load(tmp_path)
