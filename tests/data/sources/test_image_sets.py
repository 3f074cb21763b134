"""Every image data set, from its form on disk to examples."""

import pickle

import image_sets
import numpy as np
import pytest
from image_sets import DOT, HALVES, LEFT, TOP, WRITERS

from vglamm_jax.data import masks
from vglamm_jax.data.schema import BadRecord, from_dict, marked_answer, to_dict
from vglamm_jax.data.sources.captions import phrases
from vglamm_jax.data.sources.class_names import COCO_STUFF
from vglamm_jax.data.sources.registry import SOURCES, examples

GCG = "Describe this image in detail and mark each thing you name with a segmentation mask."


def read(name: str, root, split: str = "train", **options):
    """Good examples by id, and the ids and reasons of the bad ones."""
    found = list(examples(name, root, split, **options))
    good = [record for record in found if not isinstance(record, BadRecord)]
    for example in good:
        assert (example.source, example.split) == (name, split)
        assert from_dict(to_dict(example)) == example
        assert example.media.kind == "image" and (root / example.media.frames[0]).exists()
    return {example.id: example for example in good}, {r.id: r.reason for r in found if isinstance(r, BadRecord)}


def said(example) -> list[tuple]:
    """(task, question, marked answer) of each turn."""
    return [(turn.task, turn.question, marked_answer(turn).text) for turn in example.turns]


def asked(example) -> list[tuple]:
    """(expression, pixels of the mask) of each turn, whose wording is the common one."""
    out = []
    for turn in example.turns:
        assert said(example)[len(out)] == (
            "segment",
            f"Please segment {turn.expression} in this image.",
            "Sure, [SEG].",
        )
        out.append((turn.expression, masks.decode(example.mask_of(turn.phrases[0], 0), example.media.size)))
    assert example.independent
    return out


def same(found: list[tuple], expected: list[tuple]) -> None:
    assert [words for words, _ in found] == [words for words, _ in expected]
    for (words, mask), (_, wanted) in zip(found, expected):
        np.testing.assert_array_equal(mask, np.asarray(wanted, bool), err_msg=words)


def test_ade20k(tmp_path):
    image_sets.ade20k(tmp_path)
    good, bad = read("ade20k", tmp_path)
    same(asked(good["a"]), [("floor", HALVES - DOT), ("flag", DOT)])
    assert list(bad) == ["b"] and "b.png is missing" in bad["b"]
    good, _ = read("ade20k", tmp_path, "val")
    same(asked(good["v"]), [("wall", 1 - HALVES)])
    names = "".join(f"{i}\t0.1\t1\t1\t1\tname {i}, other\n" for i in range(1, 151))
    (tmp_path / "ade20k/objectInfo150.txt").write_text("Idx\tRatio\tTrain\tVal\tStuff\tName\n" + names)
    assert [words for words, _ in asked(read("ade20k", tmp_path)[0]["a"])] == ["name 4", "name 150"]


def test_cocostuff_leaves_out_classes_with_a_hyphen(tmp_path):
    image_sets.cocostuff(tmp_path)
    good, bad = read("cocostuff", tmp_path)
    dog = HALVES.copy()
    dog[:2] = dog[-1] = 0
    same(asked(good["000000000009"]), [("person", image_sets.area(slice(0, 2), slice(0, 12))), ("dog", dog)])
    assert bad == {"000000000025": "no class is marked in it"}


def test_cocostuff_with_the_official_names(tmp_path):
    image_sets.cocostuff(tmp_path)
    official = ["unlabeled", *COCO_STUFF]
    official[157], official[18] = "sky-other", "hound"
    text = "".join(f"{i}: {name}\n" for i, name in enumerate(official))
    (tmp_path / "cocostuff/labels.txt").write_text(text)
    image_sets.write_labels(tmp_path / "cocostuff/train2017/000000000025.png", np.full(image_sets.SIZE, 156))
    good, _ = read("cocostuff", tmp_path)
    assert [words for words, _ in asked(good["000000000009"])] == ["person", "hound"]
    assert [words for words, _ in asked(good["000000000025"])] == ["sky"]


def test_label_maps_that_are_none(tmp_path):
    image_sets.cocostuff(tmp_path)
    maps = tmp_path / "cocostuff/train2017"
    image_sets.write_picture(maps / "000000000009.png")
    image_sets.write_labels(maps / "000000000025.png", HALVES[:4])
    _, bad = read("cocostuff", tmp_path)
    assert "has colours (mode RGB)" in bad["000000000009"]
    assert bad["000000000025"] == "label map of 12x4, picture of 12x8"


def test_mapillary_asks_for_no_unlabeled_things(tmp_path):
    image_sets.mapillary(tmp_path)
    good, bad = read("mapillary", tmp_path)
    same(asked(good["x"]), [("bird", 1 - HALVES), ("ground animal", HALVES - DOT)])
    assert "without a name: [9]" in bad["y"]


def test_paco_asks_for_all_of_a_class(tmp_path):
    image_sets.paco_lvis(tmp_path)
    good, bad = read("paco_lvis", tmp_path)
    same(asked(good["7"]), [("mug", LEFT | TOP), ("the handle of the mug", DOT)])
    assert sorted(bad) == ["7/13", "7/14"] and list(good) == ["7"]
    assert bad["7/13"] == "the mask has no pixel" and "at least three" in bad["7/14"]
    single, _ = read("paco_lvis", tmp_path, instances=True)
    same(asked(single["7"]), [("mug", LEFT), ("mug", TOP), ("the handle of the mug", DOT)])


def test_pascal_part(tmp_path):
    image_sets.pascal_part(tmp_path)
    good, bad = read("pascal_part", tmp_path)
    same(asked(good["1"]), [("horse head", LEFT), ("the left foot of the person", DOT)])
    assert "gone.jpg is missing" in bad["2"]


@pytest.mark.parametrize("name", ["refcoco", "refcoco+", "refcocog"])
def test_references(tmp_path, name):
    WRITERS[name](tmp_path)
    good, bad = read(name, tmp_path)
    same(asked(good["1"]), [("man on the left", LEFT), ("the man", LEFT), ("small dot", DOT)])
    assert bad == {"1/3": "no annotation 999"} and list(good) == ["1"]
    same(asked(read(name, tmp_path, "testA")[0]["2"]), [("sky", TOP)])
    assert "gone.jpg is missing" in read(name, tmp_path, "val")[1]["3"]
    assert read(name, tmp_path, "testB") == ({}, {"4": "its picture is 8x12, its entry says 12x8"})
    assert read(name, tmp_path, "testC") == ({}, {})


def test_refclef_has_lists_of_run_lengths_and_splits_in_common(tmp_path):
    image_sets.refclef(tmp_path)
    same(asked(read("refclef", tmp_path)[0]["1"]), [("the two things", LEFT | DOT)])
    for split in ("test", "testA", "testB"):
        same(asked(read("refclef", tmp_path, split)[0]["2"]), [("a dot", DOT)])
    assert read("refclef", tmp_path, "testC") == ({}, {})


def test_grefcoco_has_expressions_of_several_things_and_of_none(tmp_path):
    image_sets.grefcoco(tmp_path)
    example = read("grefcoco", tmp_path)[0]["1"]
    same(asked(example), [("both", LEFT | DOT), ("the elephant", LEFT * 0)])
    assert [phrase.objects for turn in example.turns for phrase in turn.phrases] == [("5", "6"), ()]


class _Runs:
    def __reduce__(self):
        return (eval, ("__import__('os').mkdir('owned')",))


def test_pickles_that_want_to_run_something_are_not_opened(tmp_path, monkeypatch):
    image_sets.refcoco(tmp_path)
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "refer_seg/refcoco/refs(unc).p"
    file.write_bytes(pickle.dumps([_Runs()]))
    with pytest.raises(ValueError, match=r"refs\(unc\)\.p: not opened: it wants to load builtins\.eval"):
        list(examples("refcoco", tmp_path, "train"))
    assert not (tmp_path / "owned").exists()
    file.write_bytes(b"\x80\x02}q\x00")
    with pytest.raises(ValueError, match="not opened"):
        list(examples("refcoco", tmp_path, "train"))


def test_llava_instruct(tmp_path):
    image_sets.llava_instruct(tmp_path)
    good, bad = read("llava_instruct", tmp_path)
    talk = good["9-000000"]
    assert said(talk) == [("answer", "What?", "A cat."), ("answer", "Where?", "On a mat.")]
    assert not talk.independent and not talk.objects
    assert said(good["9-000001"]) == [("answer", "Describe it.", "A cat on a mat.")]
    assert list(bad) == ["10-000002"]


def test_reason_seg(tmp_path):
    image_sets.reason_seg(tmp_path)
    good, bad = read("reason_seg", tmp_path)
    assert not bad
    example, ignored = good["1"], image_sets.area(slice(1, 3), slice(1, 3))
    first, second = "What keeps’s the tea warm?", "Which thing is hot?"
    expected = [
        [
            ("segment", f"{words} Please answer with a segmentation mask.", "Sure, [SEG]."),
            ("segment", f"{words} Please answer with a segmentation mask. Explain why.", "Sure, [SEG]. It is a pot."),
            ("answer", words, "It is a pot."),
        ]
        for words in (first, second)
    ]
    assert said(example) == [*expected[0], *expected[1]] and example.independent
    np.testing.assert_array_equal(masks.decode(example.objects[0].masks[0]), (LEFT - ignored).astype(bool))
    np.testing.assert_array_equal(masks.decode(masks.as_rle(example.meta["ignore"], (8, 12))), ignored.astype(bool))
    assert example.meta["weights"] == [0.45, 0.45, 0.1] * 2
    same(asked(good["2"]), [("the dot", DOT)])


def captions(name: str, root) -> tuple[dict, dict]:
    """By id: the marked answer and the mask of each [SEG]; and the bad ones."""
    good, bad = read(name, root)
    out = {}
    for id, example in good.items():
        ((task, question, answer),) = said(example)
        assert (task, question) == ("describe", GCG)
        out[id] = answer, [masks.decode(example.mask_of(phrase, 0)) for phrase in example.turns[0].phrases]
    return out, bad


@pytest.mark.parametrize(
    "name, id, answer, expected, bad_id",
    [
        (
            "grandf",
            "m-000000",
            "<p> A man </p> [SEG] stands <p> with </p> [SEG] <p> two dots </p> [SEG].",
            [LEFT, TOP, DOT | TOP],
            "m-000001",
        ),
        ("openpsg_gcg", "000000000001-000000", "The <p> sky </p> [SEG] is blue.", [TOP], None),
        (
            "flickr_gcg",
            "1-1",
            "<p> Two dogs </p> [SEG] run on grass",
            [np.kron(LEFT | DOT, np.ones((4, 4), np.uint8))],
            None,
        ),
        (
            "refcocog_gcg",
            "77-000000",
            "<p> a man with </p> [SEG] <p> a hat </p> [SEG] waits.",
            [LEFT, DOT],
            "78-000001",
        ),
    ],
)
def test_grounded_captions(tmp_path, name, id, answer, expected, bad_id):
    WRITERS[name](tmp_path)
    good, bad = captions(name, tmp_path)
    assert list(good) == [id] and list(bad) == ([bad_id] if bad_id else [])
    assert good[id][0] == answer
    for mask, wanted in zip(good[id][1], expected, strict=True):
        np.testing.assert_array_equal(mask, wanted.astype(bool))


@pytest.mark.parametrize(
    "spans, expected",
    [
        ([(0, 5), (0, 16)], ["a man", "with a hat"]),
        ([(0, 16), (11, 16)], ["a man with", "a hat"]),
        ([(0, 8), (6, 12), (11, 16)], ["a man", "with", "a hat"]),
        ([(5, 6), (6, 10)], ["with"]),
    ],
)
def test_spans_of_a_caption_never_overlap(spans, expected):
    caption = "a man with a hat"
    found = phrases(caption, {span: [str(i)] for i, span in enumerate(spans)})
    assert [caption[one.start : one.end] for one in found] == expected


@pytest.mark.parametrize("name", WRITERS)
def test_parts_are_the_whole_and_missing_files_are_named(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="is missing; expected in the root folder: "):
        list(examples(name, tmp_path, "train"))
    with pytest.raises(ValueError, match="no split 'night': choose one of train"):
        list(examples(name, tmp_path, "night"))
    WRITERS[name](tmp_path)
    whole = list(examples(name, tmp_path, "train"))
    parts = [list(examples(name, tmp_path, "train", part=(k, 2))) for k in range(2)]
    assert sorted(map(repr, whole)) == sorted(repr(record) for part in parts for record in part)
    assert name in SOURCES
