"""People's own data in each of its forms, read into the schema and compared with what was drawn."""

import dataclasses
import json
import shutil

import numpy as np
import own_data
import pytest
from PIL import Image

from vglamm_jax.data.check import validate
from vglamm_jax.data.markup import Phrase
from vglamm_jax.data.masks import area, decode
from vglamm_jax.data.media import VideoError
from vglamm_jax.data.open_media import open_media, window
from vglamm_jax.data.schema import BadRecord, from_dict, marked_answer, to_dict
from vglamm_jax.data.sources import find, good, own_coco, own_davis, own_jsonl
from vglamm_jax.data.sources.own import DataError


def split_up(records):
    records = list(records)
    bad = [record for record in records if isinstance(record, BadRecord)]
    return [record for record in records if not isinstance(record, BadRecord)], bad


# --------------------------------------------------------------------------------------------- JSONL


def test_jsonl_lines_are_completed_from_the_files(tmp_path):
    root = own_data.jsonl_folder(tmp_path)
    (ball, cat), bad = split_up(own_jsonl.examples(root, "train"))
    assert not bad and (ball.id, ball.split, cat.id, cat.split) == ("ball", "train", "cat", "train")
    assert (ball.media.kind, ball.media.size, ball.media.length, ball.media.fps) == ("video", (24, 32), 4, 8.0)
    assert ball.turns[0].answer == "A ball rolls away." and ball.turns[0].phrases == (Phrase(0, 6, ("b",)),)
    assert area(ball.objects[0].masks[0]) == 8 * 6 and ball.objects[0].masks[3] is None
    assert (decode(cat.objects[0].masks[1]) == (own_data.block((2, 6), (3, 9)) > 0)).all()
    assert marked_answer(cat.turns[0]) == ("[SEG]", [("c",)])
    (still,), _ = split_up(own_jsonl.examples(root, "test"))
    assert (still.media.kind, still.media.length, still.turns[0].answer) == ("image", 1, "Grey.")


def test_each_bad_line_is_one_bad_record_and_the_rest_is_read(tmp_path):
    own_data.jsonl_folder(tmp_path)
    lines = [
        "{not json",
        "[1]",
        own_data.ball_line(id="a", turns=[{"question": "?", "marked": "<p> A ball </p>"}]),
        own_data.ball_line(id="b", media={"path": "videos/none.mp4"}),
        own_data.ball_line(id="c", objects=[{"id": "b", "masks": {"9": [[0, 0, 5, 0, 5, 5]]}}]),
        own_data.ball_line(id="d", objects=[{"id": "b", "masks": {"0": {"png": "still.png"}}}]),
        own_data.ball_line(id="fine"),
        own_data.ball_line(id="fine"),
    ]
    own_data.write_lines(tmp_path / "train.jsonl", lines)
    examples, bad = split_up(own_jsonl.examples(tmp_path, "train"))
    assert [example.id for example in examples] == ["fine"]
    expected = [
        ("train.jsonl:1: ?", "line: is not JSON"),
        ("train.jsonl:2: ?", "example: is [1]"),
        ("train.jsonl:3: a", "turns[0].marked: <p> at character 0"),
        ("train.jsonl:4: b", "none.mp4: no such file"),
        ("train.jsonl:5: c", "objects[0].masks[9]: the media has 4 frames"),
        ("train.jsonl:6: d", "objects[0].masks[0]: still.png: is an image of mode RGB"),
        ("train.jsonl:8: fine", "id: 'fine' is there before, at train.jsonl:7"),
    ]
    assert [record.id for record in bad] == [id for id, _ in expected]
    assert all(reason in record.reason for record, (_, reason) in zip(bad, expected)), [r.reason for r in bad]
    with pytest.raises(BadRecord, match=r"train.jsonl:1"):
        list(good(own_jsonl.examples(tmp_path, "train")))
    counted = []
    assert [e.id for e in good(own_jsonl.examples(tmp_path, "train"), counted.append)] == ["fine"]
    assert len(counted) == 7


# ---------------------------------------------------------------------------------------------- COCO


def test_coco_expressions_captions_and_categories(tmp_path):
    root = own_data.coco_folder(tmp_path)
    (first, second), bad = split_up(own_coco.examples(root, "train"))
    assert first.media.frames == ("images/1.jpg",) and first.media.size == (24, 32) and first.independent
    assert [(turn.task, marked_answer(turn)) for turn in first.turns] == [
        ("describe", ("<p> Two dogs </p> [SEG] on grey.", [("10", "11")])),
        ("segment", ("Sure, [SEG].", [("10",)])),
        ("segment", ("Sure, [SEG].", [()])),
    ]
    assert first.turns[1].question == "Please segment the dog on the left in this image."
    left = own_data.block((2, 8), (2, 10)) > 0
    assert (decode(first.mask_of(first.turns[1].phrases[0], 0)) == left).all()
    assert [(turn.expression, turn.phrases[0].objects) for turn in second.turns] == [
        ("dog", ("20", "22")),
        ("traffic light", ("21",)),
    ]
    assert np.argwhere(decode(second.object("20").masks[0])).tolist() == [[0, 1], [1, 1], [2, 1], [3, 1]]
    assert [(record.id, record.reason) for record in bad] == [
        ("instances_train2017.json: annotations[5]: 2/23", "annotations[5]: has no pixel in any frame; remove it")
    ]


def test_coco_mistakes_name_the_entry(tmp_path):
    root = own_data.coco_folder(tmp_path)
    file = own_coco.find(root)
    content = json.loads(file.read_text())
    content["annotations"][0]["segmentation"] = {"size": [24, 32], "counts": "92"}
    content["annotations"][3]["category_id"] = 77
    content["annotations"][5] = {"id": 23, "image_id": 8}
    content["captions"][0]["caption"] = "<p> Two dogs </p> on grey."
    file.write_text(json.dumps(content))
    examples, bad = split_up(own_coco.examples(root, "train"))
    assert not examples and [record.id.split(": ")[1] for record in bad] == ["images[0]", "images[1]", "annotations[5]"]
    reasons = "\n".join(record.reason for record in bad)
    for expected in (
        "annotations[0].segmentation: damaged run lengths",
        "captions[0].caption: <p> at character 0",
        "turns[0].phrases[0].objects: no object '10'",
        "category_id: annotation 21 has none that is known",
        "image_id: is 8",
    ):
        assert expected in reasons


def test_expressions_may_stand_in_a_file_of_their_own(tmp_path):
    root = own_data.youtube_vis_folder(tmp_path)
    other = own_data.write_json(
        tmp_path / "words.json", {"annotations": [{"video_id": 1, "expression": "who waves", "annotation_ids": [4]}]}
    )
    (video,), bad = split_up(own_coco.examples(root, "train", expressions=other))
    assert not bad and [turn.expression for turn in video.turns] == ["who waves"]
    assert video.media.frames == tuple(f"train/JPEGImages/v1/{n:05d}.jpg" for n in range(3))
    assert (video.media.kind, video.media.length, video.objects[0].category) == ("video", 3, "person")
    assert [rle and area(rle) for rle in video.objects[0].masks.values()] == [None, 6, None]
    shutil.rmtree(root / "train")
    with pytest.raises(DataError, match="usual places"):
        list(own_coco.examples(root, "train"))


# --------------------------------------------------------------------------------------------- DAVIS


def test_davis_palettes(tmp_path):
    (park,), bad = split_up(own_davis.examples(own_data.davis_folder(tmp_path)))
    assert [(turn.expression, turn.phrases[0].objects) for turn in park.turns] == [
        ("A dog runs", ("1",)),
        ("a dog and a man", ("1", "2")),
    ]
    assert park.meta == {"expressions": ["0", "1"]} and park.independent
    both = park.turns[1].phrases[0]
    assert park.frames_of(both) == [0, 2], "the frame without a PNG is not annotated"
    assert area(park.mask_of(both, 0)) == 16 + 40 and park.object("2").masks == {
        0: park.object("2").masks[0],
        2: None,
    }
    assert [record.id for record in bad] == ["meta_expressions.json: videos.park.expressions.2: park/2"]
    assert "no mask of object 9 in any frame" in bad[0].reason


def test_mevis_run_lengths(tmp_path):
    (park,), bad = split_up(own_davis.examples(own_data.davis_folder(tmp_path, mevis=True), source="mine"))
    assert [turn.phrases[0].objects for turn in park.turns] == [("31",), ("31", "32")] and park.source == "mine"
    assert [rle and area(rle) for rle in park.object("32").masks.values()] == [None, None, 4]
    assert len(bad) == 1 and "object 99" in bad[0].reason


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda root: (root / "JPEGImages/park/00001.jpg").unlink(), "no picture of frame 00001"),
        (
            lambda root: own_data.palette_png(root / "Annotations/park/00002.png", np.ones((5, 5))),
            "5x5, but the frames",
        ),
        (lambda root: own_data.picture(root / "Annotations/park/00002.png"), "an image of mode RGB"),
    ],
)
def test_a_damaged_davis_video_is_one_bad_record(tmp_path, damage, reason):
    damage(own_data.davis_folder(tmp_path))
    examples, bad = split_up(own_davis.examples(tmp_path))
    assert not examples and len(bad) == 1 and reason in bad[0].reason


def test_binary_masks_are_object_one(tmp_path):
    path = tmp_path / "m.png"
    Image.fromarray(own_data.block((0, 3), (0, 3), 255)).save(path)
    assert own_davis.label_map(path, own_data.SIZE).sum() == 9


def test_real_davis(davis):
    examples = list(good(own_davis.examples(davis, "train", fps=24.0)))
    assert [(e.id, e.media.length, e.media.size, len(e.turns)) for e in examples][:2] == [
        ("blackswan", 50, (480, 854), 2),
        ("bmx-trees", 80, (480, 854), 2),
    ]
    assert len(examples) == 10 and sum(e.media.length for e in examples) == 547
    dog = next(e for e in examples if e.id == "dog")
    assert dog.turns[0].question == "Please segment the dog walking over the dry grass in this video."
    png = np.asarray(Image.open(davis / "Annotations" / "dog" / "00017.png")) > 0
    assert (decode(dog.mask_of(dog.turns[0].phrases[0], 17)) == png).all()
    assert from_dict(json.loads(json.dumps(to_dict(dog)))) == dog
    frame = next(open_media(dog.media, davis).frames([17]))
    assert abs(frame.astype(int) - np.asarray(Image.open(davis / dog.media.frames[17]), int)).max() <= 2


# ------------------------------------------------------------------------------------ finding, opening


def test_the_form_of_data_is_found_out(tmp_path, davis):
    forms = {"jsonl": own_data.jsonl_folder, "coco": own_data.coco_folder, "davis": own_data.davis_folder}
    for name, make in forms.items():
        root = make(tmp_path / name)
        assert find.kind_of(root) == name
        assert len(list(find.rows(root))) > 0
    file = own_coco.find(tmp_path / "coco")
    assert find.kind_of(file) == "coco" and find.kind_of(tmp_path / "jsonl" / "test.jsonl") == "jsonl"
    assert find.kind_of(davis / "meta_expressions.json") == "davis"
    assert [row.id for row in find.rows(tmp_path / "jsonl", "test")] == ["still"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no data here"):
        find.rows(tmp_path / "empty")
    with pytest.raises(DataError, match="no such file"):
        find.rows(tmp_path / "nowhere")


def test_pictures_open_from_files_and_from_memory(tmp_path):
    own_data.jsonl_folder(tmp_path)
    ball, cat = good(own_jsonl.examples(tmp_path, "train"))
    assert [int(frame.mean()) for frame in open_media(cat.media, tmp_path).frames()] == [90, 91]
    data = tuple((tmp_path / name).read_bytes() for name in cat.media.frames)
    held = dataclasses.replace(cat.media, frames=(), encoded=data)
    assert [int(frame.mean()) for frame in open_media(held, "/nowhere").frames([1])] == [91]
    assert not validate(dataclasses.replace(cat, media=held))
    damaged = dataclasses.replace(held, encoded=(data[0], data[1][:40]))
    with pytest.raises(VideoError, match="cat: frame 1"):
        list(open_media(damaged, "", "cat").frames())
    with pytest.raises(VideoError, match="4 frames of 32x24, but the example says 5"):
        open_media(dataclasses.replace(ball.media, length=5), tmp_path)
    clip = dataclasses.replace(ball.media, clip=(0.125, 0.375))
    assert window(clip, open_media(clip, tmp_path)).tolist() == [1, 2]
    with pytest.raises(VideoError, match="no frame between 7 s and 8 s"):
        window(dataclasses.replace(clip, clip=(7, 8)), open_media(clip, tmp_path))
