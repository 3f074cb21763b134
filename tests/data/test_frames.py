"""Which frames are seen and supervised: appendix A of the facts and the rules of its section 6."""

import numpy as np
import pytest
from tiny_examples import NAMES, example

from vglamm_jax.data import frames
from vglamm_jax.data.frames import FrameRule, Slot, choose, padded, rule_for

EVERY = np.arange(40)
BALL = Slot(frozenset(range(40)), frozenset({3, 9, 15}))
BOX = Slot(frozenset(range(40)), frozenset({20}))


def pick(rule, window=EVERY, slots=(BALL, BOX), most=16, supervised=1, seed=0, fps=4.0):
    return choose(rule, np.asarray(window), fps, slots, most, supervised, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (20, "0 1 2 3 5 6 7 8 10 11 12 13 15 16 17 19"),
        (40, "0 2 5 7 10 13 15 18 20 23 26 28 31 33 36 39"),
        (64, "0 4 8 12 16 21 25 29 33 37 42 46 50 54 58 63"),
    ],
)
def test_sixteen_frames_as_the_original_picks_them(count, expected):
    seen = pick(FrameRule(), np.arange(count)).seen
    assert " ".join(map(str, seen)) == expected
    assert padded(seen, 16).tolist() == list(range(16))


def test_few_frames_repeat_the_last():
    seen = pick(FrameRule(), np.arange(5)).seen
    assert seen[padded(seen, 16)].tolist() == [0, 1, 2, 3, *[4] * 12]


def test_one_frame_a_second():
    assert pick(frames.ORIGINAL["second"]).seen.tolist() == list(range(0, 40, 4))
    assert pick(frames.ORIGINAL["second"], fps=1.0).seen.tolist() == pick(FrameRule()).seen.tolist()


@pytest.mark.parametrize("seed", range(8))
def test_around_an_anchor(seed):
    """One to three frames before and after a visible frame, two others outside of that span (facts 6.6)."""
    seen = pick(frames.ORIGINAL["around"], slots=[BOX], seed=seed).seen.tolist()
    assert len(seen) == len(set(seen)) == 5 and seen == sorted(seen) and 20 in seen
    place = seen.index(20)
    before, after = seen[place - 1], seen[place + 1]
    assert 17 <= before < 20 < after <= 23
    assert not [frame for frame in seen if before < frame < after and frame != 20]


def test_grounding_in_time():
    """The first frame of each second, thinned to 40 of them by j * n // 40; the encoders see these evenly (6.17)."""
    assert frames.grounding_frames(np.arange(7, 40), 10.0).tolist() == [7, 10, 20, 30]
    assert frames.grounding_frames(np.arange(75), 29.97).tolist() == [0, 30, 60]  # int(29 / 29.97) is still 0
    minute = frames.grounding_frames(np.arange(0, 600), 10.0)
    assert len(minute) == 40 and minute[:4].tolist() == [0, 10, 30, 40] and minute[-1] == 39 * 60 // 40 * 10
    seen = pick(frames.ORIGINAL["grounding"], np.arange(600), fps=10.0).seen
    np.testing.assert_array_equal(seen, minute[np.linspace(0, 39, 16, dtype=int)])


def test_ten_frames_from_the_first_to_the_last():
    assert pick(frames.ORIGINAL["ten"], np.arange(3, 22)).seen.tolist() == [3, 5, 7, 9, 11, 13, 15, 17, 19, 21]
    np.testing.assert_array_equal(pick(frames.ORIGINAL["all"]).seen, pick(FrameRule()).seen)


def test_a_clip_of_few_frames_gives_them_all():
    for name in ("around", "visible", "random"):
        assert pick(frames.ORIGINAL[name], window=[20, 21, 22]).seen.tolist() == [20, 21, 22]


@pytest.mark.parametrize("seed", range(5))
def test_one_visible_frame_of_each_object(seed):
    seen = set(pick(frames.ORIGINAL["visible"], seed=seed).seen.tolist())
    assert len(seen) == 5 and 20 in seen and seen & BALL.visible


@pytest.mark.parametrize("seed", range(5))
def test_random_supervision_shows_each_object_if_it_can(seed):
    rule = FrameRule(seen="visible")
    assert set(pick(rule, supervised=4, seed=seed).supervised.tolist()) >= {20}
    assert set(pick(rule, supervised=4, seed=seed).supervised.tolist()) & BALL.visible
    one = pick(rule, supervised=1, seed=seed).supervised.tolist()
    assert one[0] in BALL.visible | BOX.visible


def test_spread_supervision_is_the_originals():
    assert pick(frames.ORIGINAL["even"], supervised=4).supervised.tolist() == [0, 13, 26, 39]
    assert pick(frames.ORIGINAL["even"], supervised=1).supervised.tolist() == [0]
    assert pick(frames.ORIGINAL["moment"], window=range(21), supervised=2).supervised.tolist() == [9, 20]


def test_too_few_annotated_frames_repeat():
    sparse = Slot(frozenset({2, 5}), frozenset({2, 5}))
    chosen = pick(frames.ORIGINAL["even"], window=range(8), slots=[sparse], supervised=5).supervised
    assert chosen.tolist() == [2, 5, 2, 5, 2]
    unseen = Slot(frozenset({1}), frozenset({1}))
    assert pick(FrameRule(), slots=[unseen], supervised=2).supervised.tolist() == [1, 1]
    assert pick(FrameRule(), slots=[], supervised=2).supervised.tolist() == [0, 0]


def test_what_is_known_of_a_mask():
    made, _ = example(count=4)
    ball, both, nothing = frames.slots(made, [(NAMES[0],), (NAMES[0], NAMES[1]), ()])
    assert ball.annotated == both.annotated == nothing.annotated == {0, 1, 2, 3}
    assert ball.visible and both.visible >= ball.visible and not nothing.visible


def test_a_source_names_its_rule():
    assert rule_for(example(meta={"frames_rule": "around"})[0], None) == frames.ORIGINAL["around"]
    assert rule_for(example(meta={"frames_rule": "around"})[0], FrameRule(count=3)) == FrameRule(count=3)
    assert rule_for(example()[0], None) == FrameRule()
