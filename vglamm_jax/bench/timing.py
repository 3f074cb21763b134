"""Times two programs that compute the same thing, in turns, so that a busy machine slows both."""

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

LARGEST_ERROR = 1e-3  # of the largest value; beyond it the two do not compute the same thing


@dataclasses.dataclass(frozen=True)
class Pair:
    """One row to measure: ours against PyTorch's.

    Both callables get what their `_state` made, which is not timed, and return what the other can be compared
    with, or a tuple that begins with it: a result nobody asks for is one XLA does not compute. `steps` is how
    many times the named step runs in one call.
    """

    name: str
    detail: str
    ours: Callable[..., Any]
    torch: Callable[..., Any]
    ours_state: Callable[[], tuple] = tuple
    torch_state: Callable[[], tuple] = tuple
    steps: int = 1


@dataclasses.dataclass(frozen=True)
class Row:
    """Medians in milliseconds for one step; `ratio` is the median of ours / PyTorch over pairs of neighbouring runs."""

    name: str
    detail: str
    ours_ms: float
    torch_ms: float
    ratio: float
    lowest_ratio: float
    highest_ratio: float
    runs: int
    error: float  # largest difference of the two results, relative to the largest value


def measure(pair: Pair, runs: int) -> Row:
    """Runs both once to compile and compare, then `runs` times in turns, each going first every other time.

    Raises:
      ValueError: the two do not compute the same thing, so their times must not be compared.
    """
    error = difference(pair)
    if not error < LARGEST_ERROR:
        raise ValueError(f"{pair.name}: ours and PyTorch differ by {error:.1e}; a benchmark of it would mean nothing")
    ours, torch = [], []
    for run in range(runs):
        order = [(ours, pair.ours, pair.ours_state), (torch, pair.torch, pair.torch_state)]
        for times, program, state in order if run % 2 == 0 else reversed(order):
            times.append(seconds(program, state()) / pair.steps)
    ratios = [a / b for a, b in zip(ours, torch, strict=True)]
    return Row(
        name=pair.name,
        detail=pair.detail,
        ours_ms=1000 * statistics.median(ours),
        torch_ms=1000 * statistics.median(torch),
        ratio=statistics.median(ratios),
        lowest_ratio=min(ratios),
        highest_ratio=max(ratios),
        runs=runs,
        error=error,
    )


def seconds(program: Callable[..., Any], state: tuple) -> float:
    jax.block_until_ready(state)
    start = time.perf_counter()
    jax.block_until_ready(program(*state))
    return time.perf_counter() - start


def difference(pair: Pair) -> float:
    ours, theirs = (
        np.asarray(result[0] if isinstance(result, tuple) else result, np.float64)
        for result in (pair.ours(*pair.ours_state()), pair.torch(*pair.torch_state()))
    )
    if ours.shape != theirs.shape:
        raise ValueError(f"{pair.name}: ours gives {list(ours.shape)}, PyTorch {list(theirs.shape)}")
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
