"""The order of records: weights, passes, processes. Nothing is decoded here."""

import collections
import dataclasses
import pickle

import pytest
from tiny_examples import Pairs, example

from vglamm_jax.data import mixture
from vglamm_jax.data.bad_records import BadRecords
from vglamm_jax.data.mixture import InMemory, Part
from vglamm_jax.data.schema import BadRecord


class Numbers:
    """A source that must not be read."""

    root = "."

    def __init__(self, length: int, name: str = "numbers"):
        self.length, self.name = length, name

    def __len__(self) -> int:
        return self.length

    def __repr__(self) -> str:
        return f"Numbers({self.length}, {self.name!r})"

    def __getitem__(self, index: int):
        raise AssertionError("read")


PARTS = [Part(Numbers(30_000), 5.0), Part(Numbers(50_000), 3.03), Part(Numbers(3_000), 1.515), Part(Numbers(900), 1)]


def test_weights_are_met_within_one_percent_over_20000_draws():
    stream = mixture.draws(PARTS, seed=0)
    counts = collections.Counter(stream[i].part for i in range(20_000))
    total = sum(part.weight for part in PARTS)
    for i, part in enumerate(PARTS):
        assert counts[i] / 20_000 == pytest.approx(part.weight / total, rel=0.01)


def test_every_record_once_in_each_pass_in_an_order_of_its_own():
    stream = mixture.draws([Part(Numbers(2000)), Part(Numbers(1000))], seed=1)
    drawn = [stream[i] for i in range(5000)]
    assert [draw.number for draw in drawn] == list(range(5000))
    for part, length in ((0, 2000), (1, 1000)):
        records = [draw.record for draw in drawn if draw.part == part]
        first, second = records[:length], records[length : 2 * length]
        assert sorted(first) == list(range(length)) != first
        assert len(set(second)) == len(second) and second != first[: len(second)]


def test_the_order_of_sources_is_random_too():
    stream = mixture.draws([Part(Numbers(2000)), Part(Numbers(1000))], seed=1)
    parts = "".join(str(stream[i].part) for i in range(3000))
    assert {"000", "001", "010", "011", "100", "101", "110", "111"} == {parts[i : i + 3] for i in range(2998)}


def test_seeds_and_parts_have_orders_of_their_own():
    parts = [Part(Numbers(1000)), Part(Numbers(1000))]
    first, again, other = ([mixture.draws(parts, seed)[i] for i in range(50)] for seed in (0, 0, 1))
    assert first == again != other
    by_part = [[draw.record for draw in first if draw.part == part] for part in (0, 1)]
    assert by_part[0] != by_part[1]


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_processes_share_the_draws_of_a_step(processes):
    stream = mixture.draws(PARTS, seed=3)
    for step in (0, 1, 1000):
        shares = [mixture.batches(stream, int_of, list, 8, p, processes)[step] for p in range(processes)]
        assert all(len(share) == 8 // processes for share in shares)
        assert [number for share in shares for number in share] == list(range(8 * step, 8 * step + 8))


def int_of(draw) -> int:
    return draw.number


def test_tiny_sources_go_round():
    stream = mixture.draws([Part(Numbers(1), 3.0), Part(Numbers(2), 1.0)], seed=0)
    drawn = [stream[i] for i in range(40)]
    assert {(draw.part, draw.record) for draw in drawn} == {(0, 0), (1, 0), (1, 1)}


def test_what_a_mixture_refuses():
    with pytest.raises(ValueError, match="mixture is empty"):
        mixture.draws([], 0)
    with pytest.raises(ValueError, match="weight is 0"):
        mixture.draws([Part(Numbers(1), 0)], 0)
    with pytest.raises(ValueError, match="has no examples"):
        mixture.draws([Part(Numbers(0))], 0)
    with pytest.raises(ValueError, match="write a __repr__"):
        mixture.draws([Part(type("Bare", (), {"__len__": lambda self: 1})())], 0)
    with pytest.raises(ValueError, match="cannot be divided over 3 processes"):
        mixture.batches(mixture.draws(PARTS, 0), int_of, list, 8, 0, 3)


def test_a_stream_is_known_by_its_fingerprint():
    assert mixture.fingerprint(PARTS, 0) == mixture.fingerprint(list(PARTS), 0)
    others = [mixture.fingerprint(PARTS, 1), mixture.fingerprint(PARTS[:3], 0)]
    others.append(mixture.fingerprint([*PARTS[:3], Part(Numbers(900), 2)], 0))
    assert len({mixture.fingerprint(PARTS, 0), *others}) == 4


def test_data_that_has_moved_is_the_same_stream():
    here, there = (Part(InMemory(folder, [example()[0]], folder)) for folder in ("here", "there"))
    other = Part(InMemory("here", [dataclasses.replace(example()[0], id="other")], "here"))
    assert mixture.fingerprint([here], 0) == mixture.fingerprint([there], 0) != mixture.fingerprint([other], 0)


def test_data_that_has_changed_under_its_name_has_other_contents():
    ours = example()[0]
    turns = tuple(dataclasses.replace(turn, answer="Something else.") for turn in ours.turns)
    edited = dataclasses.replace(ours, turns=turns)
    here, moved, other = (
        mixture.identity([Part(InMemory(folder, [one, BadRecord("own", "torn", "cut")], folder)), PARTS[0]], 0)
        for folder, one in (("here", ours), ("there", ours), ("here", edited))
    )
    assert here["fingerprint"] == moved["fingerprint"] == other["fingerprint"]
    (was, made), (now, _), (changed, _) = (one["contents"] for one in (here, moved, other))
    assert was[1] == now[1] != changed[1] and made == [repr(PARTS[0].source), None]


def test_many_bad_records_of_a_source_are_counted_and_a_few_are_named(caplog):
    bad = BadRecords()
    bad.add(BadRecord("worn", str(i % 40), "torn") for i in range(80))
    assert bad.total == 80 and len(bad.reasons) == 40
    assert caplog.text.count("passed over worn: ") == 5 and "more of worn" in caplog.text


@pytest.mark.parametrize("source", [Pairs(), InMemory("list", [example()[0]])], ids=repr)
def test_sources_pickle(source):
    copy = pickle.loads(pickle.dumps(source))
    assert repr(copy) == repr(source) and len(copy) == len(source)
