"""Moving Things as examples, as a data source, as files, and as a picture."""

import dataclasses
import pickle

import numpy as np
import pytest
from PIL import Image

from vglamm_jax.config import load_config
from vglamm_jax.data.check import validate
from vglamm_jax.data.frames import frame_numbers
from vglamm_jax.data.masks import decode
from vglamm_jax.data.mixture import Part
from vglamm_jax.data.open_media import open_media
from vglamm_jax.data.pack import PackConfig
from vglamm_jax.data.pipeline import Batches, DataConfig
from vglamm_jax.data.schema import from_dict, to_dict
from vglamm_jax.data.sources.own import checked
from vglamm_jax.data.sources.own_jsonl import rows
from vglamm_jax.data.synthetic import MovingThings, Settings, clips_per_second, example, export, make_clip
from vglamm_jax.data.synthetic.benchmark import TASKS
from vglamm_jax.data.synthetic.sheet import sheet
from vglamm_jax.data.tokenizer import load_tokenizer, tiny_tokenizer

SMALL = Settings(height=48, width=64, frames=8)


@pytest.mark.parametrize("task", [*TASKS, None])
@pytest.mark.parametrize("settings", [Settings(), SMALL], ids=["default", "small"])
def test_examples_are_valid(task, settings):
    for index in range(4):
        one = example("test", 2, index, task, settings)
        assert validate(one, max_objects=4) == []
        assert {turn.task for turn in one.turns} == ({task} if task else set(TASKS))
        assert from_dict(to_dict(one), one.media.encoded) == one


def test_pictures_and_masks_of_an_example_are_those_of_the_clip():
    clip, one = make_clip("train", 2, 5), example("train", 2, 5)
    frames = list(open_media(one.media, "", one.id).frames())
    assert np.array_equal(frames, clip.frames)
    for thing in one.objects:
        for t, rle in thing.masks.items():
            assert np.array_equal(decode(rle, one.media.size), clip.masks[int(thing.id), t])
            if rle is not None:
                x0, y0, x1, y1 = clip.boxes[int(thing.id), t]
                assert thing.boxes[t] == (x0, y0, x1 - x0, y1 - y0)


def test_turns_mean_the_things_of_the_texts():
    clip, one = make_clip("train", 2, 8), example("train", 2, 8)
    described, *others = one.turns
    assert [described.answer[p.start : p.end] for p in described.phrases] == [
        clip.caption.text[p.start : p.end] for p in clip.caption.phrases
    ]
    segment = [turn for turn in others if turn.task == "segment"]
    for turn, expression in zip(segment, clip.expressions, strict=True):
        assert turn.expression == expression.text and expression.text in turn.question
        meant = [phrase.objects for phrase in turn.phrases]
        assert meant == ([tuple(map(str, expression.things))] if expression.things else [])
    assert one.meta["kinds"] == [expression.kind for expression in clip.expressions]


def test_time_spans_come_back_as_the_frames_they_were_made_of():
    for index in range(6):
        clip, one = make_clip("train", 3, index), example("train", 3, index, "locate")
        times = open_media(one.media, "", one.id).timestamps
        for turn, moment in zip(one.turns, clip.moments, strict=True):
            assert frame_numbers(turn.time_span, times) == moment.frames


def test_a_source_is_a_value():
    source = MovingThings("validation", length=5, seed=9, renderings=2, settings=SMALL)
    assert pickle.loads(pickle.dumps(source)) == source
    assert repr(source) == repr(MovingThings("validation", 5, 9, None, 2, dataclasses.replace(SMALL)))
    assert len(source) == 10
    first, again, repainted = source[2], pickle.loads(pickle.dumps(source))[2], source[7]
    assert first.example == again.example and np.array_equal(first.frames, again.frames)
    assert first.example.objects == repainted.example.objects and first.example.id != repainted.example.id
    assert not np.array_equal(first.frames, repainted.frames)
    assert np.array_equal(first.frames, make_clip("validation", 9, 2, SMALL).frames)
    with pytest.raises(IndexError):
        source[10]


def test_the_pipeline_takes_every_task(tmp_path):
    tokenizer = load_tokenizer(tiny_tokenizer(tmp_path))
    parts = [Part(MovingThings("train", length=6, task=task, settings=SMALL)) for task in (*TASKS, None)]
    data = DataConfig(pack=PackConfig(lengths=(640,), frames=2, mask_size=32), strict=True)
    stream = Batches(parts, load_config("tiny"), data, tokenizer, 8)
    batches = [next(stream) for _ in range(2)]
    stream.close()
    for batch in batches:
        assert batch.seg_valid.any() and batch.masks.any()


@pytest.mark.parametrize("change", [{"task": "sing"}, {"length": 0}, {"renderings": 0}], ids=str)
def test_sources_of_nothing_are_refused(change):
    with pytest.raises(ValueError):
        MovingThings(**change)


@pytest.mark.parametrize("lossless", [True, False])
def test_an_exported_folder_is_valid_own_data(tmp_path, lossless):
    listing = export(tmp_path, "test", 3, seed=1, settings=SMALL, lossless=lossless)
    read = list(checked(rows(listing)))
    assert [row.problems for row in read] == [()] * 3
    for index, row in enumerate(read):
        clip = make_clip("test", 1, index, SMALL)
        video = open_media(row.example.media, tmp_path)
        frames = np.array(list(video.frames()))
        error = np.abs(frames.astype(int) - clip.frames)
        assert error.max() == 0 if lossless else error.mean() < 12
        expected = example("test", 1, index, settings=SMALL, pictures=False)
        assert dataclasses.replace(row.example, media=expected.media) == expected


def test_export_refuses_what_it_cannot_write(tmp_path):
    with pytest.raises(ValueError, match="at least one"):
        export(tmp_path, "train", 0)
    with pytest.raises(ValueError, match="even sides"):
        export(tmp_path, "train", 1, settings=Settings(height=97), lossless=False)


def test_the_sheet_shows_every_clip_and_all_of_its_colours(tmp_path):
    clips = [make_clip("train", 0, index) for index in (31, 32)]
    one, two = (sheet(chosen, tmp_path / f"{len(chosen)}.png") for chosen in (clips[:1], clips))
    assert two.height > 1.5 * one.height and one.width == two.width
    assert Image.open(tmp_path / "2.png").size == two.size
    assert (tmp_path / "2.png").stat().st_size < 200_000


def test_speed_is_counted_in_clips():
    assert clips_per_second(3) > 2
