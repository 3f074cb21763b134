"""From sources to batches: one stream for any number of processes, which goes on anywhere and survives bad records."""

import dataclasses
import hashlib
import itertools
import json
import logging
import os
import subprocess
import sys

import numpy as np
import pytest
from tiny_examples import NAMES, Pairs, example, in_files, segment_turn

from vglamm_jax.config import from_json, load_config, to_json
from vglamm_jax.data.conversation import ConversationRule
from vglamm_jax.data.frames import ORIGINAL, FrameRule
from vglamm_jax.data.markup import Phrase
from vglamm_jax.data.masks import Rle, decode
from vglamm_jax.data.mixture import Draw, InMemory, Part
from vglamm_jax.data.pack import Batch, PackConfig
from vglamm_jax.data.pipeline import Batches, DataConfig, Prepare, for_evaluation
from vglamm_jax.data.schema import BadRecord
from vglamm_jax.data.sources import own_davis
from vglamm_jax.data.sources.own import DataError
from vglamm_jax.data.tokenizer import load_tokenizer, tiny_tokenizer

PACK = PackConfig(lengths=(320,), frames=2, mask_size=32)
DATA = DataConfig(pack=PACK)
PLAIN = for_evaluation(DATA)
PARTS = [Part(Pairs("films"), 2.0), Part(Pairs("mixed", images=True), 1.0, FrameRule(seen="random", count=3))]


@pytest.fixture(scope="module")
def cfg():
    return load_config("tiny")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return load_tokenizer(tiny_tokenizer(tmp_path_factory.mktemp("tokenizer")))


@pytest.fixture(scope="module")
def start(cfg, tokenizer):
    """Batches of `PARTS`, for any process and step."""

    def start(parts=PARTS, data=DATA, size=4, **where) -> Batches:
        return Batches(parts, cfg, data, tokenizer, size, **where)

    return start


def take(stream: Batches, count: int) -> list[Batch]:
    found = [next(stream) for _ in range(count)]
    stream.close()
    return found


def together(shares: list[Batch]) -> Batch:
    """What several processes hold, one after the other."""
    return Batch(*(np.concatenate(parts) for parts in zip(*shares)))


def same(one: Batch, other: Batch) -> bool:
    return all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="module")
def whole(start):
    """Five steps of one process without threads."""
    return take(start(data=dataclasses.replace(DATA, threads=0)), 5)


def test_a_config_survives_as_json():
    assert from_json(DataConfig, json.loads(json.dumps(to_json(DATA)))) == DATA
    assert from_json(DataConfig, json.loads(json.dumps(to_json(PLAIN)))) == PLAIN != DATA


def test_images_and_videos_share_batches(whole):
    kinds = np.concatenate([batch.is_video for batch in whole])
    assert kinds.any() and not kinds.all()
    assert any(0 < batch.is_video.sum() < 4 for batch in whole)
    assert not all(same(whole[0]._replace(draw=batch.draw), batch) for batch in whole)


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_the_same_bytes_for_any_number_of_processes(start, whole, processes):
    shares = [take(start(process=p, processes=processes), 3) for p in range(processes)]
    for step, parts in enumerate(zip(*shares)):
        assert same(together(list(parts)), whole[step])


def test_rows_of_a_process_need_not_lie_together(start, whole):
    """The four rows over two processes as pods deal them: a host's chips are a square, not a row."""
    for rows in ((0, 2), (1, 3)):
        for step, batch in enumerate(take(start(rows=rows), 3)):
            assert same(batch, Batch(*(part[list(rows)] for part in whole[step])))


def test_real_processes_agree(start, tokenizer, tmp_path):
    """Two programs with their own hash seeds, each with its half of step 2, which both start at."""
    tiny_tokenizer(tmp_path)
    halves = []
    for process in "01":
        environment = os.environ | {"PYTHONHASHSEED": process, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, __file__, str(tmp_path), process]
        halves.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment))
    printed = [half.communicate(timeout=120)[0].split()[-1] for half in halves]
    assert printed == [digest(take(start(step=2, process=p, processes=2), 1)[0]) for p in range(2)]


def digest(batch: Batch) -> str:
    return hashlib.sha256(b"".join(values.tobytes() for values in batch)).hexdigest()


def test_it_goes_on_at_any_step_with_another_number_of_processes(start, whole):
    """Stopped after each of the steps with two processes, resumed with one and with four."""
    for stop in (1, 3):
        first = [start(process=p, processes=2) for p in range(2)]
        for _ in range(stop):
            [next(stream) for stream in first]
        state = {stream.step for stream in first}
        [stream.close() for stream in first]
        assert state == {stop}
        assert same(take(start(step=stop), 1)[0], whole[stop])
        resumed = [take(start(step=stop, process=p, processes=4), 1)[0] for p in range(4)]
        assert same(together(resumed), whole[stop])


def test_seeking(start, whole):
    stream = start()
    next(stream)
    stream.seek(3)
    assert same(next(stream), whole[3]) and stream.step == 4
    stream.seek(0)
    assert same(next(stream), whole[0])
    stream.close()


def test_lengths_are_agreed_between_processes(start, whole):
    data = dataclasses.replace(DATA, pack=dataclasses.replace(PACK, lengths=(200, 250, 320)))
    with pytest.raises(ValueError, match="give `agree`"):
        start(data=data, processes=2)
    alone = take(start(data=data), 2)
    assert alone[0].ids.shape[-1] == 250  # the shortest that fits
    agreed = [take(start(data=data, process=p, processes=2, agree=lambda length: 320), 2) for p in range(2)]
    for step, parts in enumerate(zip(*agreed)):
        assert same(together(list(parts)), whole[step])


class Broken(Pairs):
    """Every hundredth record cannot be used, each for another reason."""

    def __getitem__(self, index: int):
        made, frames = super().__getitem__(index)
        return _BREAK[index // 100 % len(_BREAK)](made, frames) if index % 100 == 7 else (made, frames)


def _without_file(made, frames):
    return dataclasses.replace(made, media=dataclasses.replace(made.media, path="gone.mp4"))


def _bad_mask(made, frames):
    broken = dataclasses.replace(made.objects[0], masks={0: Rle(made.media.size, "0" * 9)})
    return dataclasses.replace(made, objects=(broken, *made.objects[1:])), frames


def _bad_span(made, frames):
    turn = dataclasses.replace(made.turns[0], phrases=(Phrase(0, 99, (NAMES[0],)),))
    return dataclasses.replace(made, turns=(turn,)), frames


def _too_many(made, frames):
    turn = dataclasses.replace(made.turns[0], phrases=tuple(Phrase(i, i, (NAMES[0],)) for i in range(5)))
    return dataclasses.replace(made, turns=(turn,)), frames


def _zero_length(made, frames):
    return dataclasses.replace(made, media=dataclasses.replace(made.media, length=0)), frames[:0]


def _no_mask(made, frames):
    return dataclasses.replace(
        made, objects=(dataclasses.replace(made.objects[0], masks={}), *made.objects[1:])
    ), frames


def _too_long(made, frames):
    turn = dataclasses.replace(made.turns[0], question="What " * 400)
    return dataclasses.replace(made, turns=(turn,)), frames


def _empty_mask(made, frames):
    mask = Rle(made.media.size, "PP3")  # 3072 pixels outside
    assert not decode(mask).any()
    broken = dataclasses.replace(made.objects[0], masks={0: mask})
    return dataclasses.replace(made, objects=(broken, *made.objects[1:])), frames


def _given_up(made, frames):
    return BadRecord(made.source, made.id, "the source knows")


_BREAK = [_without_file, _bad_mask, _bad_span, _too_many, _zero_length, _no_mask, _too_long, _empty_mask, _given_up]
_REASONS = ["gone.mp4", "run lengths", "span 0..99", "5 [SEG]", "length: is 0", "nowhere to be seen", "positions"]
_REASONS += ["is empty", "the source knows"]


def test_one_percent_of_broken_records(start, caplog):
    """They are counted, named once, and replaced by the same others whatever the number of processes.

    Three records of 300; the other kinds are below.
    """
    count, size = 300, 20
    parts, small = [Part(Broken("broken", count, count=2))], dataclasses.replace(DATA, threads=0)
    with caplog.at_level(logging.WARNING):
        stream = start(parts, small, size=size)
        batches = take(stream, count // size)
    bad = stream.bad
    assert sum(len(batch.ids) for batch in batches) == count
    assert len(bad.reasons) == 3 and 3 <= bad.by_source["broken"] == bad.total
    assert bad.report().startswith(f"{bad.total} draws fell on {len(bad.reasons)} bad records ({bad.total} of broken)")
    assert caplog.text.count("passed over broken: broken-") == len(bad.reasons)
    for (_, id), reason in bad.reasons.items():
        assert _REASONS[int(id.split("-")[1]) // 100] in reason
    step = next(step for step in range(count // size) if stream.dataset[step].bad)
    halves = [take(start(parts, small, size=size, step=step, process=p, processes=2), 1)[0] for p in range(2)]
    assert same(together(halves), batches[step])


@pytest.mark.parametrize(("make", "reason"), zip(_BREAK, _REASONS), ids=[make.__name__ for make in _BREAK])
def test_strict_stops_at_a_bad_record(cfg, tokenizer, make, reason):
    class One(Pairs):
        def __getitem__(self, index: int):
            return make(*super().__getitem__(0))

    prepare = Prepare([Part(One("one", 1))], cfg, dataclasses.replace(DATA, strict=True), tokenizer)
    with pytest.raises(BadRecord) as raised:
        prepare(Draw(0, 0, 0))
    assert (raised.value.source, raised.value.id) == ("one", "one-0") and reason in raised.value.reason


def test_a_source_without_anything_good_is_given_up(start):
    with pytest.raises(DataError, match="50 records in a row cannot be used; the last one: own: x: gone"):
        next(start([Part(InMemory("own", [BadRecord("own", "x", "gone")]))], size=1))


def test_mistakes_of_ours_are_not_called_bad_records(start):
    class Wrong(Pairs):
        def __getitem__(self, index: int):
            raise TypeError("a bug")

    with pytest.raises(TypeError, match="a bug"):
        next(start([Part(Wrong())], size=1))


def test_more_phrases_than_slots_may_be_cut(cfg, tokenizer):
    made, frames = _too_many(*example())
    rule = ConversationRule(too_many="cut")
    row = row_of(made, frames, cfg, tokenizer, dataclasses.replace(PLAIN, conversation=rule))
    assert row.seg_valid.all() and (row.ids == cfg.seg_token_id).sum() == 5


def test_configs_that_contradict_themselves(cfg, tokenizer):
    with pytest.raises(ValueError, match="conversations of 4 objects do not fit 2 mask slots"):
        row_of(*example(), cfg, tokenizer, dataclasses.replace(PLAIN, pack=dataclasses.replace(PACK, slots=2)))
    with pytest.raises(ValueError, match=r"the tokenizer's \[SEG\] is 511, but the config's seg_token_id is 9"):
        row_of(*example(), dataclasses.replace(cfg, seg_token_id=9), tokenizer)


class _Single(Pairs):
    def __init__(self, made, frames):
        super().__init__("single", 1)
        self.pair = (made, frames)

    def __getitem__(self, index: int):
        return self.pair


def row_of(made, frames, cfg, tokenizer, data=PLAIN, rule=None) -> Batch:
    return Prepare([Part(_Single(made, frames), frames=rule)], cfg, data, tokenizer)(Draw(0, 0, 0)).arrays


def test_masks_are_those_of_the_supervised_frames(cfg, tokenizer):
    made, frames = example(count=8)
    data = dataclasses.replace(PLAIN, pack=dataclasses.replace(PACK, mask_size=64, frames=4))
    row = row_of(made, frames, cfg, tokenizer, data, ORIGINAL["even"])
    for slot, name in enumerate(NAMES[:2]):
        for k, frame in enumerate((0, 2, 4, 7)):
            truth = decode(made.object(name).masks[frame], made.media.size)
            expected = truth[np.arange(64) * 48 // 64]  # 48 x 64 pixels on 64 x 64: columns stay
            assert (row.masks[slot, k].astype(bool) == expected).mean() > 0.99
    assert (row.masks[2:] == -1).all() and row.is_video


def test_frames_that_nobody_annotated_are_ignored(cfg, tokenizer):
    made, frames = example(count=8)
    ball, box = made.objects[:2]
    sparse = dataclasses.replace(box, masks={7: box.masks[7]})
    made = dataclasses.replace(made, objects=(ball, sparse))
    row = row_of(made, frames, cfg, tokenizer, rule=ORIGINAL["even"])
    assert (row.masks[0] >= 0).all() and (row.masks[1, 0] == -1).all() and (row.masks[1, 1] >= 0).all()


def test_time_spans_count_the_frames_that_are_seen(cfg, tokenizer):
    turn = dataclasses.replace(
        segment_turn(NAMES[0]), answer="frames:({start},{end}), .", phrases=(Phrase(24, 24, (NAMES[0],)),)
    )
    made, frames = example(count=8, turns=(dataclasses.replace(turn, task="locate", time_span=(0.5, 1.0)),))
    row = row_of(made, frames, cfg, tokenizer)
    said = tokenizer.decode(row.labels[row.labels >= 0].tolist())
    assert said == "frames:(2,4), [SEG].<|end|>"


def test_played_backwards_with_its_masks(cfg, tokenizer):
    made, frames = example(count=4, turns=(segment_turn(NAMES[0]),))
    data = dataclasses.replace(PLAIN, pack=dataclasses.replace(PACK, frames=4))
    still = {"scale": 1.0, "flip": 0.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
    forward = row_of(made, frames, cfg, tokenizer, data, ORIGINAL["even"])
    changes = dataclasses.replace(DATA.augment, reverse=1.0, **still)
    back = row_of(made, frames, cfg, tokenizer, dataclasses.replace(data, augment=changes), ORIGINAL["even"])
    for name in ("masks", "sam"):
        axis = 1 if name == "masks" else 0
        np.testing.assert_array_equal(getattr(back, name), np.flip(getattr(forward, name), axis))
    np.testing.assert_array_equal(back.clips[:4], forward.clips[:4][::-1])


def test_files_give_what_memory_gives(cfg, tokenizer, tmp_path):
    made, frames = example("disk", count=4)
    part = Part(InMemory("disk", [in_files(made, frames, tmp_path)], tmp_path))
    row = Prepare([part], cfg, DATA, tokenizer)(Draw(0, 0, 0)).arrays
    assert same(row, Prepare([Part(_Single(made, frames))], cfg, DATA, tokenizer)(Draw(0, 0, 0)).arrays)


def test_real_video(davis, start, cfg):
    """Two steps of DAVIS: every row asks for one thing, and its mask lies on supervised frames."""
    source = InMemory("davis", itertools.islice(own_davis.examples(davis, "train", source="davis"), 3), davis)
    assert len(source) == 3 and not [record for record in source.records if isinstance(record, BadRecord)]
    stream = start([Part(source)], size=2)
    for batch in take(stream, 2):
        assert batch.is_video.all() and batch.context.any((1, 2, 3, 4)).all()
        assert batch.seg_valid.sum(1).tolist() == [1, 1]
        assert ((batch.masks[:, 0] == 1).sum((1, 2, 3)) > 0).all()
        assert (np.take_along_axis(batch.ids, batch.seg_positions[:, :1] + 1, 1) == cfg.seg_token_id).all()
    assert stream.bad.total == 0 and stream.bad.report() == "no bad records"


if __name__ == "__main__":
    where = {"step": 2, "process": int(sys.argv[2]), "processes": 2}
    print(digest(take(Batches(PARTS, load_config("tiny"), DATA, load_tokenizer(sys.argv[1]), 4, **where), 1)[0]))
