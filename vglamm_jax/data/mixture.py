"""Which record comes when: weighted sources, shuffled, sliced over processes, in batches (grain).

The stream is a function of (seed, number of the draw) alone. Step s takes the draws [G * s, G * (s + 1)), process p of
n the p-th of n equal blocks of them, so that the state of the whole pipeline is one integer, the step, for any n, and
every row stands at the same place of the batch.
"""

import dataclasses
import functools
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import grain
import numpy as np

from vglamm_jax.data.frames import FrameRule
from vglamm_jax.data.schema import BadRecord, Example, to_dict

DIGESTED = 10_000  # records of a source in memory, at most
WINDOW = 1024  # draws in which each source has its share, in random order
ENDLESS = 2**40
_STREAM = 0x6D6978  # keeps these random numbers apart from those of the records


class Source(Protocol):
    """Random access to examples. Must pickle, and its repr must say what it reads (no memory address).

    `source[i]` gives an example, whose pictures are read from `source.root` if there is one (`open_media`); or a pair
    (example, frames uint8 [T, H, W, 3]) for those that live in memory; or a `BadRecord` in its place, or raises one.
    Where its repr names a folder, a method `identity` says what it is wherever that lies, and a method `contents` gives
    a digest of what it holds.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example | BadRecord | tuple[Example, np.ndarray]: ...


class InMemory:
    """A list of records as a source."""

    def __init__(self, name: str, records: Iterable[Example | BadRecord], root: Path | str = "."):
        self.name, self.records, self.root = name, list(records), root

    def __repr__(self) -> str:
        return f"InMemory({self.name!r}, {len(self)} records, {str(self.root)!r})"

    def identity(self) -> str:
        found = (self[i] for i in range(len(self)))
        examples = (one[0] if isinstance(one, tuple) else one for one in found)
        ids = "\n".join(f"{example.source} {example.id}" for example in examples)
        return f"InMemory({len(self)} records, {zlib.crc32(ids.encode()):08x})"

    def contents(self) -> str:
        """Of all records; of very many, some spread evenly, as a large set would take minutes."""
        looked_at = np.unique(np.linspace(0, len(self) - 1, min(len(self), DIGESTED)).astype(np.int64))
        found = (self[int(i)] for i in looked_at)
        return f"{functools.reduce(lambda crc, one: zlib.crc32(_written(one), crc), found, 0):08x}"

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Example | BadRecord:
        return self.records[index]


def _written(found: Example | BadRecord | tuple[Example, np.ndarray]) -> bytes:
    if isinstance(found, BadRecord):
        return f"{found.source} {found.id}".encode()
    example = found[0] if isinstance(found, tuple) else found
    return json.dumps(to_dict(example), sort_keys=True).encode()


@dataclasses.dataclass(frozen=True)
class Part:
    """A source, its weight in the mixture (any positive number), and how its frames are chosen."""

    source: Source
    weight: float = 1.0
    frames: FrameRule | None = None  # None: the one its examples name, see `frames.rule_for`


class Draw(NamedTuple):
    number: int  # in the whole stream, the same for any number of processes
    part: int
    record: int


def draws(parts: Sequence[Part], seed: int) -> grain.MapDataset:
    """The endless stream of draws. Nothing is read: a draw only names its record.

    Each source is gone through pass by pass, each pass in an order of its own.

    Raises:
        ValueError: no part, a weight that is not positive, a source that is empty or whose repr has an address.
    """
    _check(parts)
    passes = [
        grain.MapDataset.range(len(part.source)).shuffle(seed=_seed(seed, i)).repeat() for i, part in enumerate(parts)
    ]
    return grain.MapDataset.range(ENDLESS).map(_Order(passes, _shares(parts), seed))


@dataclasses.dataclass(frozen=True)
class _Order:
    """`MapDataset.mix` would come near the weights by one percent only, and shuffling after it would mix the passes."""

    passes: Sequence[grain.MapDataset]
    shares: tuple[int, ...]
    seed: int

    def __call__(self, number: int) -> Draw:
        window, place = divmod(int(number), WINDOW)
        parts, places = _window(self.shares, self.seed, window)
        part = int(parts[place])
        return Draw(int(number), part, int(self.passes[part][int(places[place])]))


@functools.lru_cache(maxsize=16)
def _window(shares: tuple[int, ...], seed: int, window: int) -> tuple[np.ndarray, np.ndarray]:
    """For each draw of a window its part, and how many draws fell on that part before, int64 [WINDOW]."""
    ends = np.array([window, window + 1], np.int64) * WINDOW
    left, before = sum(shares), []
    for share in shares:  # how many of the first `ends` draws fall on each part, the rest being shared by the others
        rest = ends * (left - share) // left
        before.append(ends - rest)
        ends, left = rest, left - share
    starts, stops = np.stack(before, axis=1)
    parts = np.random.default_rng((seed, window, _STREAM)).permutation(
        np.repeat(np.arange(len(shares)), stops - starts)
    )
    places = np.empty_like(parts)
    for part, start in enumerate(starts):
        mine = parts == part
        places[mine] = start + np.arange(mine.sum())
    return parts, places


def _shares(parts: Sequence[Part]) -> tuple[int, ...]:
    """Weights in millionths of their sum."""
    total = sum(part.weight for part in parts)
    return tuple(max(1, round(1e6 * part.weight / total)) for part in parts)


def batches(
    stream: grain.MapDataset,
    prepare: Callable[[Draw], Any],
    collate: Callable[[Sequence[Any]], Any],
    batch_size: int,
    process: int = 0,
    processes: int = 1,
    rows: Sequence[int] | None = None,
) -> grain.MapDataset:
    """Step -> this process's rows of the batch, `batch_size` of all processes together.

    The rows of all processes one after the other are the same batch for any number of them. `rows` says instead which
    ones of the batch are this process's: what its devices hold need not lie together.

    Raises:
        ValueError: the batch does not divide over the processes.
    """
    if rows is not None:
        mine = grain.MapDataset.range(ENDLESS).map(_Rows(stream, batch_size, tuple(rows)))
        return mine.map(prepare).batch(len(rows), batch_fn=collate)
    if batch_size % processes or not 0 <= process < processes:
        raise ValueError(
            f"a batch of {batch_size} rows cannot be divided over {processes} processes: choose a multiple of them"
        )
    return stream.map(prepare).batch(batch_size // processes, batch_fn=collate)[process::processes]


@dataclasses.dataclass(frozen=True)
class _Rows:
    """The draws of some rows of every batch, one batch after the other."""

    stream: grain.MapDataset
    batch_size: int
    rows: tuple[int, ...]

    def __call__(self, number: int) -> Draw:
        step, place = divmod(int(number), len(self.rows))
        return self.stream[step * self.batch_size + self.rows[place]]


def iterate(dataset: grain.MapDataset, step: int, threads: int, ahead: int) -> Iterator[Any]:
    """From `step` on, prepared by so many threads, at most `ahead` waiting. Without threads, when asked for."""
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(ahead, threads) if threads else 0)
    iterator = iter(dataset.to_iter_dataset(options))
    iterator.set_state({"next_index": step})
    return iterator


def _seed(seed: int, stream: int) -> int:
    return int(np.random.SeedSequence([seed, stream, _STREAM]).generate_state(1)[0])


def identity(parts: Sequence[Part], seed: int) -> dict[str, Any]:
    """What a checkpoint keeps to know the stream again, as JSON has it.

    fingerprint: see there. contents: for each part the repr of its source and a digest of what it holds, or None.
    """
    contents = [[repr(part.source), _contents(part.source)] for part in parts]
    return {"fingerprint": fingerprint(parts, seed), "contents": contents}


def _contents(source: Source) -> str | None:
    return source.contents() if hasattr(source, "contents") else None


def fingerprint(parts: Sequence[Part], seed: int) -> int:
    """Tells whether a stream is another one than that of a checkpoint: sources, weights, frame rules or seed differ.

    The same data in another folder is the same stream.
    """
    said = [(_identity(part.source), part.weight, part.frames) for part in parts]
    return zlib.crc32(repr((said, seed)).encode())


def _identity(source: Source) -> str:
    return source.identity() if hasattr(source, "identity") else repr(source)


def _check(parts: Sequence[Part]) -> None:
    if not parts:
        raise ValueError("the mixture is empty: give at least one source")
    for part in parts:
        if not part.weight > 0:
            raise ValueError(f"{part.source!r}: its weight is {part.weight}; leave it out or give a positive number")
        if " at 0x" in repr(part.source):
            raise ValueError(f"{part.source!r}: write a __repr__ that is the same in every process and run")
        if not len(part.source):
            raise ValueError(f"{part.source!r}: has no examples; check its folder and split, or leave it out")
