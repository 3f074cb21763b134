"""The grounded conversation sets on video: made in their layouts, read, compared by hand."""

import numpy as np
import pytest
from tiny_video_sets import (
    LEFT,
    MIDDLE,
    NONE,
    RIGHT,
    labels,
    mask_picture,
    masks_of,
    phrases_of,
    picture,
    rle,
    runs,
    same,
    write_json,
)

from vglamm_jax.data.markup import MarkupError, Phrase
from vglamm_jax.data.masks import decode
from vglamm_jax.data.schema import marked_answer
from vglamm_jax.data.sources import anet_gcg, grounded_video_qa, hcstvg_gcg, mevis_gcg, video_gcg, vidstg_gcg, ytvos_gcg
from vglamm_jax.data.sources.caption_forms import bracketed, of_words


def test_caption_forms():
    text, phrases = bracketed("A [tall man](007) leads [two dogs](1, 2), [sic] (so).")
    assert text == "A tall man leads two dogs, [sic] (so)."
    assert phrases == (Phrase(2, 10, ("7",)), Phrase(17, 25, ("1", "2")))
    assert bracketed("nothing") == ("nothing", ())
    for wrong in ("[man](the first)", "[ ](1)"):
        with pytest.raises(MarkupError):
            bracketed(wrong)
    assert of_words("two cats sit", [1, 0, 1], [7, 5, 8])[1] == (Phrase(0, 3, ("5",)), Phrase(4, 8, ("7", "8")))
    for words, ids in ((None, [1]), ([0], []), ([-1], [1]), ([3], [1])):
        with pytest.raises(MarkupError):
            of_words("two cats sit", words, ids)


def test_video_gcg(tmp_path):
    def video(id, dense, **origin):
        names = [f"{id}/0.jpg", f"{id}/1.jpg"]
        return {"id": id, "width": 12, "height": 8, "length": 2, "file_names": names, "dense_cap": dense, **origin}

    good = {"caption": "A man holds two cats", "token_pos": [4, 1, 4], "mask_id": [30, 10, 20], "v_id2o_id": {}}
    videos = [
        video(7, good, metadata={"dataset": "yt19"}),
        video(3, {**good, "mask_id": [30, 10]}, dataset_split="yt19"),
        video(5, {**good, "token_pos": [1], "mask_id": [10]}, dataset_split="LaSOT"),
        video(6, {"caption": None, "token_pos": None, "mask_id": None}, dataset_split="yt19"),
    ]
    annotations = [
        {"id": 10, "segmentations": [rle(LEFT), None]},
        {"id": 20, "segmentations": [runs(MIDDLE), rle(MIDDLE)]},
        {"id": 30, "segmentations": [None, rle(RIGHT)]},
    ]
    for split in ("train", "test"):
        write_json(
            tmp_path / f"video_gcg/instruction_data/{split}.json", {"videos": videos, "annotations": annotations}
        )
    for n in (0, 1):
        picture(tmp_path / f"ytvis/vos/train/JPEGImages/7/{n}.jpg")
        picture(tmp_path / f"burst/frames/val/5/{n}.jpg")
    first, unpaired, burst, empty = video_gcg.examples(tmp_path, "test")
    assert phrases_of(first.turns[0]) == [("man", ("10",)), ("cats", ("30", "20"))]
    assert marked_answer(first.turns[0]).text == "A <p> man </p> [SEG] holds two <p> cats </p> [SEG]"
    assert same(masks_of(first, "10"), {0: LEFT, 1: NONE}) and same(masks_of(first, "30"), {0: NONE, 1: RIGHT})
    cats = first.turns[0].phrases[1]
    assert np.array_equal(decode(first.mask_of(cats, 1)), MIDDLE | RIGHT)
    assert (first.id, unpaired.id, burst.id, empty.id) == ("7", "3", "5", "6")
    assert "do not pair up" in unpaired.reason and "no caption" in empty.reason
    assert burst.media.frames[0] == "burst/frames/val/5/0.jpg"
    assert (burst.meta["frames_rule"], burst.turns[0].task) == ("all", "describe")
    assert "burst/frames/train/5/0.jpg" in list(video_gcg.examples(tmp_path, "train"))[2].reason


def test_anet_gcg(tmp_path):
    top = tmp_path / "activitynet_entities_gcg"
    caption = "A <p> man </p> [SEG:0] and <p> a dog </p> [SEG:12]; the <p> man </p> [SEG:0] waves"
    tokens = {f"[SEG:{i}]": {"frame_id": 2, "bbox": [0, 0, 4, 4]} for i in (0, 12)}
    for name in ("v_b____10", "v_a____3"):
        write_json(top / f"anns/{name}.json", {"refined_caption": caption, "seg_token_to_obj": tokens})
    for n in range(4):
        picture(top / f"video_frames/v_b/10/{n:02d}.jpg")
    picture(top / "video_frames/v_a/3/00.jpg")
    mask_picture(top / "masks/v_b____10/00/mask.png", LEFT)
    mask_picture(top / "masks/v_b____10/12/mask.png", RIGHT)
    short, segment = anet_gcg.examples(tmp_path, "train")
    assert segment.id == "v_b____10" and segment.turns[0].answer == "A man and a dog; the man waves"
    assert phrases_of(segment.turns[0]) == [("man", ("0",)), ("a dog", ("12",)), ("man", ("0",))]
    assert same(masks_of(segment, "0"), {2: LEFT}) and same(masks_of(segment, "12"), {2: RIGHT})
    assert segment.media.length == 4 and segment.meta["frames_rule"] == "annotated"
    assert short.id == "v_a____3" and "02.jpg" in short.reason


def test_grounded_video_qa(tmp_path):
    top = tmp_path / "processed/activitynet_entities"
    one = {"video_id": "v_a", "seg_idx": 2, "qa_idx": 5, "question": "Who waves?"}
    one |= {"answer": "<p> The man </p> [SEG:3].", "seg_token_to_obj": {"[SEG:3]": {"frame_id": 1}}}
    two = {**one, "qa_idx": 6, "answer": "<p> He </p> [SEG:3] and <p> she </p> [SEG:4]"}
    write_json(tmp_path / "grounded_video_qa/grounded_video_qa_trainval.json", [two, one])
    for n in (1, 2, 3):
        picture(top / f"splits/v_a/2/{n:02d}.jpg")
    mask_picture(top / "masks/v_a/2/000005/mask.png", MIDDLE)
    several, single = grounded_video_qa.examples(tmp_path, "train")
    assert several.id == "v_a/2/6" and "names 2 objects" in several.reason
    assert same(masks_of(single, "3"), {1: MIDDLE})  # frame_id 1 is the picture 02.jpg
    turn = single.turns[0]
    assert (turn.expression, turn.answer, turn.task) == ("Who waves?", "The man.", "answer")
    assert turn.question.startswith("Who waves? ") and phrases_of(turn) == [("The man", ("3",))]


def test_ytvos_gcg(tmp_path):
    top = tmp_path / "refer_youtube_vos"
    write_json(top / "meta_expressions/train/meta_expressions.json", {"videos": {"v": {"frames": ["5", "0"]}}})
    write_json(top / "train/meta.json", {"videos": {"v": {"objects": {"2": {"category": "cat"}}}}})
    for frame, masks in (("0", {1: LEFT}), ("5", {1: LEFT, 2: RIGHT})):
        picture(top / f"train/JPEGImages/v/{frame}.jpg")
        labels(top / f"train/Annotations/v/{frame}.png", masks)
    write_json(tmp_path / "ytvos_gcg/train/v.json", {"caption": "[A pair](1, 2) and [a cat](2) rest"})
    write_json(tmp_path / "ytvos_gcg/train/unknown.json", {"caption": "[a cat](2)"})
    write_json(tmp_path / "ytvos_gcg/train/zero.json", {"text": ""})
    unknown, video, textless = ytvos_gcg.examples(tmp_path, "train")
    assert video.turns[0].answer == "A pair and a cat rest" and video.meta["frames_rule"] == "random"
    assert phrases_of(video.turns[0]) == [("A pair", ("1", "2")), ("a cat", ("2",))]
    assert same(masks_of(video, "2"), {0: NONE, 1: RIGHT}) and video.object("2").category == "cat"
    pair = video.turns[0].phrases[0]
    assert np.array_equal(decode(video.mask_of(pair, 1)), LEFT | RIGHT)
    assert (unknown.id, textless.id) == ("unknown", "zero") and "caption" in textless.reason


def test_mevis_gcg(tmp_path):
    expressions = {
        "0": {"exp": "both", "obj_id": [0, 1], "anno_id": [5, 6]},
        "1": {"exp": "left", "obj_id": [0], "anno_id": [5]},
    }
    top = tmp_path / "mevis/valid_u"
    write_json(top / "meta_expressions.json", {"videos": {"v": {"frames": ["0", "1"], "expressions": expressions}}})
    write_json(top / "mask_dict.json", {"5": [rle(LEFT), None], "6": [None, rle(RIGHT)]})
    for n in (0, 1):
        picture(top / f"JPEGImages/v/{n}.jpg")
    write_json(tmp_path / "mevis_gcg/valid_u/v.json", {"caption": "[the left one](0) meets [another](1)"})
    (video,) = mevis_gcg.examples(tmp_path, "valid_u")
    assert phrases_of(video.turns[0]) == [("the left one", ("0",)), ("another", ("1",))]
    assert same(masks_of(video, "1"), {0: NONE, 1: RIGHT}) and video.meta["frames_rule"] == "all"
    (original,) = mevis_gcg.examples(tmp_path, "valid_u", protocol="reference")
    assert "no expression of exactly the objects 1" in original.reason


@pytest.mark.parametrize(("module", "folder"), [(vidstg_gcg, "vidstg_gcg"), (hcstvg_gcg, "hcstvg_gcg")])
def test_vidstg_and_hcstvg_gcg(tmp_path, module, folder):
    top = tmp_path / folder
    write_json(top / "val_captions/200.json", {"caption": "[two rabbits](0, 1) by [an adult](0)"})
    write_json(top / "val_captions/1000.json", {"caption": "[a cat](0)"})
    for frame, masks in (("000004", (LEFT, NONE)), ("000011", (NONE, RIGHT))):
        picture(top / f"val/200/frames/{frame}.png")
        for object, mask in enumerate(masks):
            mask_picture(top / f"val/200/masks/{object:03d}/{frame}.png", mask)
    missing, video = module.examples(tmp_path, "val")
    assert (missing.id, video.id, video.source) == ("1000", "200", folder)
    assert video.media.frames == tuple(f"{folder}/val/200/frames/{n}.png" for n in ("000004", "000011"))
    assert phrases_of(video.turns[0]) == [("two rabbits", ("0", "1")), ("an adult", ("0",))]
    assert same(masks_of(video, "0"), {0: LEFT, 1: NONE}) and same(masks_of(video, "1"), {0: NONE, 1: RIGHT})
    _, original = module.examples(tmp_path, "val", protocol="reference")
    assert phrases_of(original.turns[0]) == [("two rabbits", ("0",)), ("an adult", ("0",))]
    assert [thing.id for thing in original.objects] == ["0"]
