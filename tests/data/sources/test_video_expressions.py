"""Refer-YouTube-VOS, Ref-DAVIS17, MeViS, A2D- and JHMDB-Sentences: made in their layouts, read, compared by hand."""

import json
import sys

import numpy as np
import pytest
from PIL import Image
from tiny_video_sets import (
    LEFT,
    MIDDLE,
    NONE,
    RIGHT,
    clip,
    labels,
    masks_of,
    phrases_of,
    picture,
    rle,
    runs,
    same,
    write_json,
)

from vglamm_jax.data.masks import decode
from vglamm_jax.data.schema import BadRecord, marked_answer
from vglamm_jax.data.sources import a2d_sentences, jhmdb_sentences, mevis, refer_davis, refer_youtube_vos
from vglamm_jax.data.sources.own import DataError
from vglamm_jax.data.sources.turns import NOT_PUBLISHED


def test_refer_youtube_vos(tmp_path):
    top = tmp_path / "refer_youtube_vos"
    expressions = {
        "1": {"exp": "A  Dog on\nthe left", "obj_id": "1"},
        "0": {"exp": "the cat", "obj_id": "3"},
        "2": {"exp": "a ghost", "obj_id": "2"},
    }
    videos = {
        "b": {"frames": ["00005", "00000"], "expressions": expressions},
        "a": {"frames": ["00000"], "expressions": {"0": {"exp": "it", "obj_id": "1"}}},
    }
    write_json(top / "meta_expressions/train/meta_expressions.json", {"videos": videos})
    write_json(top / "train/meta.json", {"videos": {"b": {"objects": {"1": {"category": "dog"}}}}})
    for video, frame in (("b", "00000"), ("b", "00005"), ("a", "00000")):
        picture(top / f"train/JPEGImages/{video}/{frame}.jpg")
    labels(top / "train/Annotations/b/00000.png", {1: LEFT})
    labels(top / "train/Annotations/b/00005.png", {3: MIDDLE, 1: LEFT, 255: RIGHT})

    ghost, video, broken = refer_youtube_vos.examples(tmp_path, "train")
    assert isinstance(ghost, BadRecord) and ghost.id == "b/2" and "nowhere to be seen" in ghost.reason
    assert isinstance(broken, BadRecord) and broken.id == "a" and "Annotations/a/00000.png is missing" in broken.reason
    assert (video.id, video.split, video.source) == ("b", "train", "refer_youtube_vos")
    assert video.media.frames == tuple(f"refer_youtube_vos/train/JPEGImages/b/{n}.jpg" for n in ("00000", "00005"))
    assert video.media.size == (8, 12) and video.independent
    assert [turn.expression for turn in video.turns] == ["a dog on the left", "the cat"]
    assert [marked_answer(turn).objects for turn in video.turns] == [[("1",)], [("3",)]]
    assert marked_answer(video.turns[0]).text == "Sure, [SEG]."
    assert video.meta == {"frames_rule": "around", "expressions": ["1", "0"]}
    assert [(thing.id, thing.category) for thing in video.objects] == [("1", "dog"), ("3", None)]
    assert same(masks_of(video, "1"), {0: LEFT, 1: LEFT})
    assert same(masks_of(video, "3"), {0: NONE, 1: MIDDLE & ~LEFT & ~RIGHT})

    one = list(refer_youtube_vos.examples(tmp_path, "train", per="expression"))
    assert [record.id for record in one] == ["b/2", "b/1", "b/0", "a"]
    assert [thing.id for thing in one[1].objects] == ["1"] and len(one[1].turns) == 1
    assert [r.id for r in refer_youtube_vos.examples(tmp_path, "train", part=(1, 2))] == ["a"]


def test_refer_youtube_vos_has_no_answers_for_the_challenge(tmp_path):
    top = tmp_path / "refer_youtube_vos"
    entry = {"frames": ["00000"], "expressions": {"0": {"exp": "the cat"}}}
    write_json(top / "meta_expressions/valid/meta_expressions.json", {"videos": {"v": entry, "t": entry}})
    write_json(top / "meta_expressions/test/meta_expressions.json", {"videos": {"t": entry}})
    picture(top / "valid/JPEGImages/v/00000.jpg")
    picture(top / "test/JPEGImages/t/00000.jpg")
    for split, video in (("valid", "v"), ("test", "t")):
        (example,) = refer_youtube_vos.examples(tmp_path, split)
        assert (example.id, example.split, example.objects) == (video, split, ())
        assert example.media.frames == (f"refer_youtube_vos/{split}/JPEGImages/{video}/00000.jpg",)
        assert (example.turns[0].answer, example.turns[0].phrases) == (NOT_PUBLISHED, ())
        assert example.turns[0].expression == "the cat" and example.meta["frames_rule"] == "all"


def test_refer_davis_reads_the_real_thing(davis, tmp_path):
    top = tmp_path / "processed/refer_davis/2017"
    content = json.loads((davis / "meta_expressions.json").read_text())
    chosen = {name: content["videos"][name] for name in ("dog", "blackswan")}
    for video in chosen.values():
        video["frames"] = video["frames"][:3]
    write_json(top / "meta_expressions/valid/meta_expressions.json", {"videos": chosen})
    (top / "valid").mkdir()
    for folder in ("JPEGImages", "Annotations"):
        (top / "valid" / folder).symlink_to(davis / folder)
    dog, swan = refer_davis.examples(tmp_path, "valid")
    assert (dog.id, swan.id, dog.media.size, dog.media.length) == ("dog", "blackswan", (480, 854), 3)
    assert [turn.expression for turn in swan.turns] == [
        e["exp"].lower() for e in chosen["blackswan"]["expressions"].values()
    ]
    for example in (dog, swan):
        stored = np.asarray(_palette(davis / f"Annotations/{example.id}/00002.png"))
        for thing in example.objects:
            assert np.array_equal(decode(thing.masks[2]), stored == int(thing.id))


def _palette(path):
    image = Image.open(path)
    assert image.mode == "P"
    return image


@pytest.fixture
def mevis_root(tmp_path):
    top = tmp_path / "mevis"
    videos = {
        "v": {
            "frames": ["00000", "00001"],
            "expressions": {
                "0": {"exp": "Both  dogs", "obj_id": [0, 2], "anno_id": [7, 9]},
                "1": {"exp": "the small one", "obj_id": [2], "anno_id": [9]},
            },
        },
        "short": {"frames": ["00000"], "expressions": {}},
        "odd": {"frames": ["00000", "00001"], "expressions": {"0": {"exp": "x", "obj_id": [1], "anno_id": [5]}}},
    }
    write_json(top / "valid_u/meta_expressions.json", {"videos": videos})
    write_json(
        top / "valid_u/mask_dict.json", {"7": [rle(LEFT), rle(MIDDLE)], "9": [None, runs(RIGHT)], "5": [rle(LEFT)]}
    )
    write_json(top / "valid/meta_expressions.json", {"videos": {"v": videos["v"]}})
    for place in ("valid_u/JPEGImages/v", "valid_u/JPEGImages/odd", "valid/JPEGImages/v"):
        for frame in ("00000", "00001"):
            picture(top / place / f"{frame}.jpg")
    return tmp_path


def test_mevis(mevis_root):
    video, short, odd = mevis.examples(mevis_root, "valid_u")
    assert [turn.expression for turn in video.turns] == ["both dogs", "the small one"]
    both, small = (turn.phrases[0] for turn in video.turns)
    assert (both.objects, small.objects) == (("0", "2"), ("2",))
    assert video.frames_of(both) == [0, 1]
    # The union: the original's sum is 2 where the masks overlap.
    assert np.array_equal(decode(video.mask_of(both, 1)), MIDDLE | RIGHT) and (MIDDLE & RIGHT).any()
    assert same(masks_of(video, "2"), {0: NONE, 1: RIGHT})
    assert short.id == "short" and "two frames" in short.reason
    assert odd.id == "odd" and "1 masks for 2 frames" in odd.reason
    (kept,) = mevis.examples(mevis_root, "valid")
    assert kept.objects == () and {turn.answer for turn in kept.turns} == {NOT_PUBLISHED}


def test_a2d_sentences(tmp_path):
    h5py = pytest.importorskip("h5py", reason="reads A2D's masks")
    top = tmp_path / "a2d_sentences"
    rows = [
        ["A man   jumps", "vid", 3, 1],
        ["the ball rolls", "vid", 3, 4],
        ["A man   jumps", "vid", 6, 1],
        ["nobody", "vid", 6, 2],
        ["nobody", "gone", 1, 0],
    ]
    write_json(top / "a2d_sentences_single_frame_train_annotations.json", rows)
    clip(top / "Release/clips320H/vid.mp4")
    folder = top / "text_annotations/a2d_annotation_with_instances/vid"
    folder.mkdir(parents=True)
    with h5py.File(folder / "00003.h5", "w") as file:
        file["instance"], file["reMask"] = np.array([4, 1]), np.stack([RIGHT.T, LEFT.T]).astype(np.uint8)
    with h5py.File(folder / "00006.h5", "w") as file:
        file["instance"], file["reMask"] = np.array([1]), MIDDLE.T.astype(np.uint8)

    nobody, video, gone = a2d_sentences.examples(tmp_path, "train")
    assert nobody.id == "vid/6/2" and "no instance 2, only 1" in nobody.reason
    assert video.media.path == "a2d_sentences/Release/clips320H/vid.mp4" and video.media.length == 10
    assert [(turn.expression, turn.phrases[0].objects) for turn in video.turns] == [
        ("a man jumps", ("1",)),
        ("the ball rolls", ("4",)),
    ]
    assert same(masks_of(video, "1"), {2: LEFT, 5: MIDDLE}) and same(masks_of(video, "4"), {2: RIGHT})
    assert gone.id == "gone/1/0" and "00001.h5 is missing" in gone.reason


def test_jhmdb_sentences(tmp_path):
    scipy_io = pytest.importorskip("scipy.io", reason="reads JHMDB's masks")
    frames, masks = "./jhmdb_sentences/Rename_Images/catch/vid", "jhmdb_sentences/puppet_mask/catch/vid/puppet_mask.mat"
    rows = [["vid", f"{frames}/{n:05d}.png", masks, 3, "A man catches"] for n in (2, 1)]
    rows.append(["gone", f"{frames}/00001.png", "jhmdb_sentences/none.mat", 3, "it"])
    write_json(tmp_path / "jhmdb_sentences/jhmdb_sentences_samples_metadata.json", rows)
    for n in (1, 2, 3):
        picture(tmp_path / frames / f"{n:05d}.png")
    parts = np.stack([LEFT * 3, RIGHT * 7], axis=-1).astype(np.uint8)  # two masks for three frames, as it happens
    (tmp_path / masks).parent.mkdir(parents=True)
    scipy_io.savemat(tmp_path / masks, {"part_mask": parts})

    video, gone = jhmdb_sentences.examples(tmp_path, "test")
    assert video.media.frames[0] == "jhmdb_sentences/Rename_Images/catch/vid/00001.png" and video.media.length == 3
    assert same(masks_of(video, "actor"), {0: LEFT, 1: RIGHT})
    assert [turn.expression for turn in video.turns] == ["a man catches"]
    assert video.meta["frames"] == [0, 1] and phrases_of(video.turns[0]) == [("", ("actor",))]
    assert gone.id == "gone" and "none.mat are missing" in gone.reason


@pytest.mark.parametrize(("module", "package"), [(a2d_sentences, "h5py"), (jhmdb_sentences, "scipy")])
def test_a_missing_package_is_named(module, package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DataError, match=f"pip install {package}$"):
        next(module.examples(tmp_path))
