"""The example schema: markup, JSON both ways, and a clear word for everything that can be wrong with it."""

import copy
import dataclasses
import json
import pickle

import numpy as np
import pytest

from vglamm_jax.data.check import validate
from vglamm_jax.data.markup import MarkupError, Phrase, parse_marked
from vglamm_jax.data.masks import Rle, decode, encode
from vglamm_jax.data.schema import (
    BadRecord,
    Example,
    Media,
    Obj,
    SchemaError,
    Turn,
    from_dict,
    marked_answer,
    to_dict,
)

BLOCK = np.zeros((4, 6), bool)
BLOCK[1:3, 2:4] = True
RLE = encode(BLOCK)
ANSWER = "A dog chases two cats."


def example() -> Example:
    masks = {0: RLE, 1: None}
    return Example(
        id="chase",
        media=Media(kind="video", path="chase.mp4", size=(4, 6), length=3, fps=24.0, clip=(0.0, 0.1)),
        objects=(
            Obj(id="dog", category="dog", masks=masks, boxes={0: (2.0, 1.0, 2.0, 2.0)}),
            Obj(id="cat1", masks=masks),
            Obj(id="cat2", masks={0: encode(np.eye(4, 6)), 2: RLE}),
        ),
        turns=(
            Turn(
                question="What happens?",
                answer=ANSWER,
                phrases=(Phrase(0, 5, ("dog",)), Phrase(13, 21, ("cat1", "cat2"))),
                task="describe",
                time_span=(0.05, 0.1),
            ),
            Turn(question="Segment the bird.", answer="Sure, .", phrases=(Phrase(6, 6),), task="segment"),
        ),
        meta={"licence": "CC0"},
    )


# -------------------------------------------------------------------------------------------- markup


def test_answers_are_marked_as_the_model_writes_them():
    first, second = map(marked_answer, example().turns)
    assert first.text == "<p> A dog </p> [SEG] chases <p> two cats </p> [SEG]."
    assert first.objects == [("dog",), ("cat1", "cat2")]
    assert second == ("Sure, [SEG].", [()])


@pytest.mark.parametrize(
    ("text", "plain", "phrases"),
    [
        ("<p> A dog </p> [SEG:dog] barks.", "A dog barks.", [(0, 5, ("dog",))]),
        ("<p>A dog</p>[SEG: a, b] barks.", "A dog barks.", [(0, 5, ("a", "b"))]),
        ("Two <p> cats </p> [SEG:1] [SEG:2], asleep", "Two cats, asleep", [(4, 8, ("1",)), (4, 8, ("2",))]),
        ("[SEG:1].", ".", [(0, 0, ("1",))]),
        ("It is [SEG:1] [SEG:2] here", "It is  here", [(6, 6, ("1",)), (6, 6, ("2",))]),
        ("no objects", "no objects", []),
    ],
)
def test_markers_come_out_and_go_in_again(text, plain, phrases):
    assert parse_marked(text) == (plain, tuple(Phrase(*phrase) for phrase in phrases))
    turn = Turn(question="?", answer=plain, phrases=parse_marked(text)[1])
    again, ids = marked_answer(turn)
    assert parse_marked(again, ids) == (plain, turn.phrases)


@pytest.mark.parametrize(
    ("text", "objects", "reason"),
    [
        ("<p> A dog barks. [SEG:1]", [], "<p> at character 0"),
        ("A dog </p> [SEG:1]", [], "</p> at character 6"),
        ("<p> A dog </p> barks.", [], "<p> at character 0"),
        ("<p> A <p> dog </p> </p> [SEG:1]", [], "not nested"),
        ("A dog [SEG].", [], "only 0 object lists"),
        ("A dog [SEG].", [["a"], ["b"]], "more object lists"),
    ],
)
def test_markers_that_do_not_fit_are_errors(text, objects, reason):
    with pytest.raises(MarkupError, match=reason):
        parse_marked(text, objects)


# ---------------------------------------------------------------------------------------------- JSON


def test_json_is_lossless_and_as_documented():
    content = json.loads(json.dumps(to_dict(example())))
    assert (
        from_dict(content) == from_dict(content, trusted=True) == example() and validate(example(), max_objects=3) == []
    )
    assert content["schema"] == "vglamm.example/1" and "independent" not in content
    assert content["media"] == {
        "kind": "video",
        "size": [4, 6],
        "length": 3,
        "path": "chase.mp4",
        "fps": 24.0,
        "clip": [0.0, 0.1],
    }
    assert content["objects"][0] == {
        "id": "dog",
        "category": "dog",
        "masks": {"0": {"size": [4, 6], "counts": RLE.counts}, "1": None},
        "boxes": {"0": [2.0, 1.0, 2.0, 2.0]},
    }
    assert content["turns"][1] == {
        "question": "Segment the bird.",
        "answer": "Sure, .",
        "task": "segment",
        "phrases": [{"start": 6, "end": 6, "objects": []}],
    }


def test_pictures_in_memory_stay_out_of_the_json():
    held = dataclasses.replace(example().media, path=None, encoded=(b"1", b"2", b"3"))
    content = to_dict(dataclasses.replace(example(), media=held))
    assert "encoded" not in json.dumps(content)
    assert from_dict(content, [b"1", b"2", b"3"]).media == held


def test_people_may_write_markers_and_polygons():
    content = to_dict(example())
    content["turns"] = [{"question": "?", "marked": "<p> A dog </p> [SEG:dog]."}]
    content["objects"] = [{"id": "dog", "masks": {"0": [[2, 1, 4, 1, 4, 3, 2, 3]]}}]
    read = from_dict(content)
    assert read.turns[0] == Turn(question="?", answer="A dog.", phrases=(Phrase(0, 5, ("dog",)),))
    assert (decode(read.objects[0].masks[0]) == BLOCK).all()


def set_at(content, path, value):
    for key in path[:-1]:
        content = content[key]
    if value is None:
        del content[path[-1]]
    else:
        content[path[-1]] = value


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (["schema"], "vglamm.example/2", 'schema: is \'vglamm.example/2\'; write "schema": "vglamm.example/1"'),
        (["id"], None, "id: is missing; write text"),
        (["id"], 7, "id: is 7; write text"),
        (["meida"], {}, "meida: unknown field; did you mean 'media'?"),
        (["media"], "a.mp4", "media: is 'a.mp4'; write an object {...}"),
        (["media", "size"], None, "media.size: is missing; write [height, width]"),
        (["media", "size"], [4, "6"], "media.size: is [4, '6']; write [height, width]"),
        (["media", "length"], True, "media.length: is True; write a whole number, 0 or more"),
        (["media", "clip"], [1], "media.clip: is [1]; write [start, end] in seconds"),
        (["objects", 0, "masks", "0"], {"counts": "92"}, "objects[0].masks[0]: damaged run lengths: they cover 11"),
        (["objects", 0, "masks", "-1"], [], "objects[0].masks: has the key '-1'; keys are frame numbers"),
        (["objects", 0, "boxes", "0"], [1, 2, 3], "objects[0].boxes[0]: is [1, 2, 3]; write [x, y, width, height]"),
        (["turns", 0], "What?", "turns[0]: is 'What?'; write an object {...}"),
        (["turns", 0, "answer"], None, "turns[0].answer: is missing; write text"),
        (["turns", 0, "marked"], "A dog", "turns[0].marked: is there beside answer or phrases"),
        (["turns", 0, "phrases", 0, "start"], -1, "turns[0].phrases[0].start: is -1; write a whole number"),
        (["turns", 0, "phrases", 0, "objects"], "dog", "turns[0].phrases[0].objects: is 'dog'; write a list of texts"),
        (["independent"], "no", "independent: is 'no'; write true or false"),
    ],
)
def test_wrong_json_names_field_mistake_and_fix(path, value, problem):
    content = copy.deepcopy(to_dict(example()))
    set_at(content, path, value)
    with pytest.raises(SchemaError) as raised:
        from_dict(content)
    assert problem in str(raised.value) and len(raised.value.problems) == 1


def test_all_mistakes_are_reported_at_once():
    with pytest.raises(SchemaError) as raised:
        from_dict({"schema": "vglamm.example/1", "media": {"kind": 3}, "turns": [{}], "objects": [{"masks": {"0": 1}}]})
    assert sorted(problem.field for problem in raised.value.problems) == [
        "id",
        "media.kind",
        "media.length",
        "media.size",
        "objects[0].id",
        "objects[0].masks[0]",
        "turns[0].answer",
        "turns[0].question",
    ]
    for nonsense in ([], None, "x"):
        with pytest.raises(SchemaError, match="example"):
            from_dict(nonsense)


# -------------------------------------------------------------------------------------------- meaning


def change(**changes) -> Example:
    """The example with fields replaced; `media_length=2` and `turn_answer=...` reach inside."""
    whole = example()
    parts = {"media": whole.media, "turn": whole.turns[0], "thing": whole.objects[0]}
    for name, value in changes.items():
        part, _, field = name.partition("_")
        if part in parts and field:
            parts[part] = dataclasses.replace(parts[part], **{field: value})
    plain = {name: value for name, value in changes.items() if "_" not in name}
    inside = {
        "media": parts["media"],
        "turns": (parts["turn"], *whole.turns[1:]),
        "objects": (parts["thing"], *whole.objects[1:]),
    }
    return dataclasses.replace(whole, **{**inside, **plain})


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        ({"id": ""}, ["id: is empty"]),
        ({"turns": ()}, ["turns: is empty"]),
        ({"objects": example().objects + example().objects[:1]}, ["objects[3].id: 'dog' is there twice"]),
        ({"media_path": None}, ["media: has no pictures"]),
        ({"media_frames": ("a", "b", "c")}, ["media: has both path and frames"]),
        ({"media_path": None, "media_frames": ("a",)}, ["media.length: is 3, but there are 1 frames; write 1"]),
        ({"media_kind": "film"}, ["media.kind: is 'film'; write one of video, image"]),
        ({"media_kind": "image"}, ["media.length: is 3 for an image"]),
        ({"media_length": 0, "objects": (), "turns": example().turns[1:]}, ["media.length: is 0; a clip has at least"]),
        ({"media_length": 2}, ["objects[2].masks[2]: the media has 2 frames"]),
        ({"media_fps": 0.0}, ["media.fps: is 0.0"]),
        ({"media_clip": (2.0, 1.0)}, ["media.clip: is [2.0, 1.0]; write [start, end] in seconds, the later one last"]),
        (
            {"media_size": (6, 4)},
            [
                f"objects[{o}].masks[{f}].size: is [4, 6], but the media is [6, 4]"
                for o, f in ((0, 0), (1, 0), (2, 0), (2, 2))
            ],
        ),
        ({"thing_masks": {0: None}, "thing_boxes": {}}, ["objects[0].masks: object 'dog' is nowhere to be seen"]),
        ({"thing_masks": {0: Rle((4, 6), "h0")}}, ["objects[0].masks[0]: is empty; write null"]),
        ({"thing_masks": {0: Rle((4, 6), "92")}}, ["objects[0].masks[0]: damaged run lengths"]),
        ({"thing_boxes": {9: (0, 0, 1, 0)}}, ["objects[0].boxes[9]: the media has 3", "objects[0].boxes[9]: is [0, 0"]),
        ({"turn_question": " "}, ["turns[0].question: is empty"]),
        ({"turn_question": "<video>\nWhat?"}, ["turns[0].question: contains <video>; remove it"]),
        ({"turn_answer": ANSWER + " [SEG]"}, ["turns[0].answer: contains [SEG]; write plain text and phrases"]),
        ({"turn_answer": "", "turn_phrases": ()}, ["turns[0].answer: is empty"]),
        ({"turn_task": "dance"}, ["turns[0].task: is 'dance'; write one of answer, describe, segment, locate"]),
        ({"turn_time_span": (3.0, 1.0)}, ["turns[0].time_span: is [3.0, 1.0]"]),
        ({"turn_time_span": None, "turn_task": "locate"}, ["turns[0].time_span: is missing"]),
        ({"turn_phrases": (Phrase(0, 99, ("dog",)),)}, ["phrases[0]: span 0..99 of an answer with 22 characters"]),
        ({"turn_phrases": (Phrase(5, 0, ("dog",)),)}, ["phrases[0]: span 5..0"]),
        ({"turn_phrases": (Phrase(5, 6, ("dog",)),)}, ["phrases[0]: has only spaces"]),
        ({"turn_phrases": (Phrase(2, 5), Phrase(0, 1))}, ["phrases[1]: 'A' overlaps the phrase before"]),
        ({"turn_phrases": (Phrase(0, 5, ("fox",)),)}, ["objects: no object 'fox' ('A dog'); known ids: cat1, cat2"]),
        ({"turn_phrases": (Phrase(0, 5, ("dog", "dog")),)}, ["phrases[0].objects: names an object twice"]),
        (
            {"turn_phrases": (Phrase(0, 5, ("dog", "cat2")),), "thing_masks": {1: RLE}},
            ["no frame has masks of all of dog,"],
        ),
        (
            {"turn_time_span": (24.0, 36.0)},
            ["is [24.0, 36.0], but the media ends at 0.125 s; write seconds, not frames"],
        ),
        ({"media_size": [4, 6]}, ["media: is ([4, 6], (), (0.0, 0.1)); write tuples, not lists"]),
        ({"turn_phrases": (Phrase(0, np.int64(5), "dog"),)}, ["phrases[0]: is np.int64(5)", "objects: is 'dog'"]),
        ({"thing_masks": {"0": BLOCK}}, ["objects[0].masks: is '0'", "masks[0]: is array("]),
    ],
)
def test_what_makes_no_sense_is_named(changes, problems):
    found = [str(problem) for problem in validate(change(**changes))]
    assert len(found) == len(problems), found
    assert all(expected in one for expected, one in zip(problems, found)), found


def test_masks_that_are_known_to_be_good_are_not_read_again():
    damaged = change(thing_masks={0: Rle((4, 6), "92")})
    assert len(validate(damaged)) == 1 and validate(damaged, masks=False) == []


def test_too_many_objects_are_counted_in_a_conversation():
    assert [str(p) for p in validate(example(), max_objects=2)] == [
        "turns: 3 [SEG] in one conversation, at most 2 can be learnt; split the conversation or raise the limit"
    ]
    assert validate(change(independent=True), max_objects=2) == []
    assert [p.field for p in validate(change(independent=True), max_objects=1)] == ["turns[0].phrases"]


def test_one_seg_may_stand_for_several_objects():
    """Two cats: annotated together in frame 0 alone; a phrase of nobody is annotated everywhere, and empty."""
    whole, cats = example(), example().turns[0].phrases[1]
    assert whole.frames_of(cats) == [0]
    assert (decode(whole.mask_of(cats, 0)) == (BLOCK | np.eye(4, 6, dtype=bool))).all()
    nobody = whole.turns[1].phrases[0]
    assert whole.frames_of(nobody) == [0, 1, 2] and whole.mask_of(nobody, 1) is None


def test_a_bad_record_says_whose_it_is_and_travels_between_processes():
    record = pickle.loads(pickle.dumps(BadRecord("mevis", "video7/3", "no mask")))
    assert str(record) == "mevis: video7/3: no mask"
    assert (record.source, record.id, record.reason) == ("mevis", "video7/3", "no mask")
