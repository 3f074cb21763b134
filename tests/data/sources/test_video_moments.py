"""The sets of questions and moments, and of boxes for evaluation: made in their layouts, read, compared by hand."""

import json

import numpy as np
import pytest
from tiny_video_sets import (
    LEFT,
    NONE,
    clip,
    mask_picture,
    masks_of,
    phrases_of,
    picture,
    same,
    write_json,
    write_text,
)

from vglamm_jax.data.frames import frame_numbers
from vglamm_jax.data.open_media import open_media, window
from vglamm_jax.data.schema import BadRecord
from vglamm_jax.data.sources import (
    activitynet_captions,
    anet_entities,
    charades_sta,
    hcstvg_grounding,
    qv_highlights,
    video_instruct,
    vidstg,
    vidstg_grounding,
)
from vglamm_jax.data.sources.turns import NOT_PUBLISHED


def test_video_instruct(tmp_path):
    asked = (("v_b", "B?"), ("v_a", "A?"), ("v_b", "C?\n<video>"))
    rows = [{"video_id": id, "q": question, "a": f"{id}. "} for id, question in asked]
    rows += [{"video_id": id, "q": "?", "a": "!"} for id in ("v_gone", "v_bad")]
    write_json(tmp_path / "video_instruct_100k/VideoInstruct100K.json", rows)
    write_text(tmp_path / "processed/video_instruct_100k/ignore_filenames.txt", "v_bad.mp4")
    for id in ("v_a", "v_b"):
        clip(tmp_path / f"activitynet/videos/train/{id}.mkv")
    first, second, gone = video_instruct.examples(tmp_path, "train")
    assert (first.id, second.id, second.independent) == ("v_a", "v_b", True)
    assert [turn.question for turn in second.turns] == ["B?", "C?"]
    assert second.turns[0].answer == "v_b." and second.turns[0].task == "answer"
    assert second.media.path == "activitynet/videos/train/v_b.mkv" and second.meta["frames_rule"] == "second"
    assert isinstance(gone, BadRecord) and "v_gone" in gone.reason and "missing" in gone.reason


def test_charades_sta(tmp_path):
    lines = [
        "AB 0.0 0.9##Person  opens a door.",
        "XY 0.5 1.5##it ends.",
        "AB 1.0 9.0##person sits.",
        "AB 5 6##late",
        "AB 1##x",
    ]
    write_text(tmp_path / "charades_sta/charades_sta_test.txt", *lines)
    for video in ("AB", "XY"):
        clip(tmp_path / f"charades_sta/Charades_v1_480/{video}.mp4", frames=10, fps=5.0)
    malformed, late, first, second = charades_sta.examples(tmp_path, "test")
    assert (malformed.id, late.id) == ("AB/5", "AB/4") and "starts at 5 s of a video of 2.00 s" in late.reason
    assert [(turn.expression, turn.time_span) for turn in first.turns] == [
        ("person opens a door", (0.0, 0.9)),
        ("person sits", (1.0, 2.0)),  # ends with the video
    ]
    assert first.turns[0].answer.endswith("frames:({start},{end}).") and first.turns[0].task == "locate"
    assert (second.id, second.split, second.media.length, second.media.fps) == ("XY", "test", 10, 5.0)


def test_activitynet_captions(tmp_path):
    content = {
        "v_2": {"duration": 2.0, "timestamps": [[0.2, 1.0], [1.5, 1.5]], "sentences": [" A man runs. ", "Nothing."]},
        "v_1": {"duration": 9.9, "timestamps": [[0.0, 1.0]], "sentences": ["Gone."]},
    }
    write_json(tmp_path / "activitynet_captions/val_1.json", content)
    clip(tmp_path / "activitynet/videos/val_1/v_2.webm.mp4")
    (tmp_path / "activitynet/videos/val_1/v_2.webm.mp4").rename(tmp_path / "activitynet/videos/val_1/v_2.webm")
    empty, video, gone = activitynet_captions.examples(tmp_path, "val_1")
    assert empty.id == "v_2/1" and "from 1.5 to 1.5" in empty.reason
    assert video.media.path == "activitynet/videos/val_1/v_2.webm"
    assert [(turn.expression, turn.time_span) for turn in video.turns] == [("a man runs", (0.2, 1.0))]
    assert gone.id == "v_1" and "missing" in gone.reason


def test_qv_highlights(tmp_path):
    row = {"qid": 11, "vid": "abc_0_150", "query": "A cat.", "relevant_windows": [[0, 0.4], [0.6, 1.4], [1.6, 2.0]]}
    write_text(tmp_path / "qv_highlights/highlight_train_release.jsonl", json.dumps(row), "{broken")
    del row["relevant_windows"]
    write_text(tmp_path / "qv_highlights/highlight_test_release.jsonl", json.dumps(row))
    clip(tmp_path / "qv_highlights/videos/abc_0_150.mp4")
    query, broken = qv_highlights.examples(tmp_path, "train")
    assert (query.id, query.turns[0].expression, query.turns[0].time_span) == ("11", "a cat", (0.6, 1.4))
    assert query.meta["ignored_windows"] == [[0.0, 0.4], [1.6, 2.0]]
    assert broken.id == "line 2"
    (secret,) = qv_highlights.examples(tmp_path, "test")
    assert secret.turns[0].answer == NOT_PUBLISHED and secret.turns[0].time_span is None


def test_vidstg(tmp_path):
    top = tmp_path / "processed/vidstg/train"
    about = {"time_s": 1, "time_e": 2, "caption": "What is  Beneath the dog?", "qtype": "interrogative"}
    for sample in ("000", "001", "002", "003"):
        write_json(top / f"masks/{sample}/metadata.json", about)
        for n in range(4):
            picture(top / f"masks/{sample}/image_{n:06d}.jpg")
        mask_picture(top / f"masks/{sample}/mask_000002.png", LEFT)
    mask_picture(top / "masks/000/mask_000001.png", NONE)
    mask_picture(top / "masks/002/mask_000003.png", LEFT)
    write_json(top / "masks/003/metadata.json", {**about, "time_s": -100, "time_e": -100})
    write_text(top / "ignore_idxs.txt", "1")
    sample, outside, nowhere = vidstg.examples(tmp_path, "train")
    assert sample.id == "000" and sample.media.length == 4 and sample.media.fps == 1.0
    assert same(masks_of(sample, "target"), {1: NONE, 2: LEFT})
    (turn,) = sample.turns
    assert turn.expression == "what is beneath the dog?" and turn.question.startswith("what is beneath the dog? ")
    assert frame_numbers(turn.time_span, np.arange(4.0)) == (1, 2)
    assert phrases_of(turn) == [("", ("target",))] and "frames:({start},{end})" in turn.answer
    assert sample.meta == {"frames_rule": "moment", "qtype": "interrogative"}
    assert (outside.id, nowhere.id) == ("002", "003") and "outside of the moment" in outside.reason


@pytest.mark.parametrize(("clip_of", "frames"), [("segment", range(2, 9)), ("tube", range(4, 7))])
def test_vidstg_grounding(tmp_path, clip_of, frames):
    entry = {"original_video_id": "77", "video_path": "1/77.mp4", "fps": 5.0, "width": 12, "height": 8, "type": "x"}
    entry |= {"start_frame": 2, "end_frame": 9, "tube_start_frame": 4, "tube_end_frame": 7, "target_id": 3}
    entry |= {"caption": "A dog.", "qtype": "declarative", "video_id": 0, "frame_count": 10}
    track = {str(n): {"bbox": [n, 1, 3, 4]} for n in range(10)}
    content = {"videos": [entry, {**entry, "video_id": 1, "frame_count": 30}], "obj_categories": {"77": {"3": "dog"}}}
    write_json(
        tmp_path / "processed/vidstg/vidstg_annotations/test.json", {**content, "trajectories": {"77": {"3": track}}}
    )
    clip(tmp_path / "vidstg/video/1/77.mp4", frames=10, fps=5.0)
    video, cut = vidstg_grounding.examples(tmp_path, "test", clip=clip_of)
    assert (video.id, video.meta["video"], video.object("3").category) == ("0", "77", "dog")
    assert video.object("3").boxes == {4: (4, 1, 3, 4), 5: (5, 1, 3, 4), 6: (6, 1, 3, 4)}
    opened = open_media(video.media, tmp_path)
    assert window(video.media, opened).tolist() == list(frames)
    assert frame_numbers(video.turns[0].time_span, opened.timestamps) == (4, 6)
    assert video.turns[0].expression == "A dog."
    assert cut.id == "1" and "10 frames, but was annotated with 30" in cut.reason


def test_hcstvg_grounding(tmp_path):
    entry = {"original_video_id": "5_a", "video_path": "0/5_a.mp4", "frame_count": 10, "width": 12, "height": 8}
    entry |= {"tube_start_frame": 3, "tube_end_frame": 5, "tube_start_time": 0.4, "tube_end_time": 0.8}
    entry |= {"caption": "The man sits.", "video_id": 0, "trajectory": [[1, 1, 2, 2], [2, 1, 2, 2]]}
    for split in ("train", "val"):
        write_json(tmp_path / f"processed/hcstvg/hcstvg_annotations/{split}_v2_proc.json", [entry, entry])
    write_json(tmp_path / "hcstvg/qa/0.json", {"Q": "Who sits?", "A": "The man"})
    clip(tmp_path / "hcstvg/Video/0/5_a.mp4", frames=10, fps=5.0)
    video, unasked = hcstvg_grounding.examples(tmp_path, "val")
    assert video.turns[0].expression == "Who sits?" and video.meta["qtype"] == "interrogative"
    assert video.object("person").boxes == {2: (1, 1, 2, 2), 3: (2, 1, 2, 2)}
    assert frame_numbers(video.turns[0].time_span, np.arange(10) / 5) == (2, 3)
    assert unasked.id == "1" and "hcstvg/qa/1.json" in unasked.reason
    said, _ = hcstvg_grounding.examples(tmp_path, "val", wording="caption", protocol="reference")
    assert said.turns[0].expression == "The man sits." and list(said.object("person").boxes) == [3, 4]
    assert [e.meta["qtype"] for e in hcstvg_grounding.examples(tmp_path, "train")] == ["declarative"] * 2


def test_anet_entities(tmp_path):
    segments = {
        "0": {"timestamps": [0.4, 1.0], "tokens": ["A", "man", "runs"]},
        "1": {"timestamps": [1, 1], "tokens": ["x"]},
    }
    data = tmp_path / "activitynet_entities/data"
    annotations = {"annotations": {"v_1": {"segments": segments}, "v_other": {"segments": segments}}}
    write_json(data / "anet_entities_cleaned_class_thresh50_trainval.json", annotations)
    write_json(data / "split_ids_anet_entities.json", {"training": ["v_other"], "validation": ["v_1"]})
    clip(tmp_path / "activitynet/videos/train/v_1.mp4")
    segment, empty = anet_entities.examples(tmp_path, "validation")
    assert (segment.id, segment.turns[0].answer, segment.media.clip) == ("v_1/0", "A man runs", (0.4, 1.0))
    assert segment.turns[0].task == "describe" and segment.meta["frames_rule"] == "ten"
    assert empty.id == "v_1/1" and "media.clip" in empty.reason


def test_a_broken_video_costs_one_record(tmp_path):
    write_text(tmp_path / "charades_sta/charades_sta_train.txt", "BAD 0 1##x", "AB 0 1##x", "GONE 0 1##x")
    clip(tmp_path / "charades_sta/Charades_v1_480/AB.mp4")
    write_text(tmp_path / "charades_sta/Charades_v1_480/BAD.mp4", "no video at all")
    broken, fine, gone = charades_sta.examples(tmp_path, "train")
    assert fine.id == "AB" and [type(record) for record in (broken, gone)] == [BadRecord, BadRecord]
    assert (broken.id, gone.id) == ("BAD", "GONE") and "BAD.mp4" in broken.reason and "no such file" in gone.reason
