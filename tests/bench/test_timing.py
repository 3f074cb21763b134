"""Fair timing: turns, medians, and no time for programs that disagree."""

import time

import numpy as np
import pytest

from vglamm_jax.bench.timing import Pair, measure


def sleeper(log: list[str], name: str, milliseconds: float, value=(1.0, 2.0)):
    def program(*state):
        log.append(name)
        time.sleep(milliseconds / 1000)
        return np.array(value)

    return program


def test_runs_take_turns_after_one_comparison():
    log: list[str] = []
    row = measure(Pair("sleep", "of 8 and 2", sleeper(log, "a", 8), sleeper(log, "b", 2)), runs=4)
    assert log == ["a", "b", "a", "b", "b", "a", "a", "b", "b", "a"]
    assert row.ours_ms > row.torch_ms > 1.9
    assert 1 < row.lowest_ratio <= row.ratio <= row.highest_ratio
    assert (row.runs, row.error) == (4, 0.0)


def test_times_are_for_one_step():
    pair = Pair("sleep", "10 steps", sleeper([], "a", 20), sleeper([], "b", 20), steps=10)
    assert 1.9 < measure(pair, runs=1).ours_ms < 15


def test_state_is_made_afresh_and_not_timed():
    made: list[str] = []

    def state():
        time.sleep(0.05)
        made.append("state")
        return (len(made),)

    pair = Pair("state", "", sleeper([], "a", 1), sleeper([], "b", 1), ours_state=state)
    assert measure(pair, runs=3).ours_ms < 40
    assert len(made) == 4


def test_result_may_begin_a_tuple():
    ours = sleeper([], "a", 0)
    row = measure(Pair("tuple", "", lambda: (ours(), "the rest"), sleeper([], "b", 0)), runs=1)
    assert row.error == 0


def test_programs_that_disagree_are_not_timed():
    log: list[str] = []
    pair = Pair("wrong", "", sleeper(log, "a", 0), sleeper(log, "b", 0, (1.0, 2.1)))
    with pytest.raises(ValueError, match=r"wrong: ours and PyTorch differ by 4.8e-02"):
        measure(pair, runs=5)
    assert log == ["a", "b"]


def test_not_a_number_is_a_disagreement():
    with pytest.raises(ValueError, match="differ by nan"):
        measure(Pair("nan", "", sleeper([], "a", 0, (np.nan, 1)), sleeper([], "b", 0)), runs=1)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"ours gives \[3\], PyTorch \[2\]"):
        measure(Pair("shape", "", sleeper([], "a", 0, (1, 2, 3)), sleeper([], "b", 0)), runs=1)
