"""Records of a source ready to be written, read by one process or by several side by side."""

import contextlib
import dataclasses
import multiprocessing
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vglamm_jax.data.builders.stored import AS_USUAL, Storage, Stored, stored
from vglamm_jax.data.schema import BadRecord
from vglamm_jax.data.sources import registry
from vglamm_jax.data.sources.registry import WHOLE, Part

_AHEAD = 8  # records a reader may be in front of the writer
_ALIVE_EVERY = 5.0  # seconds between looks at a reader that says nothing


@dataclasses.dataclass(frozen=True)
class Reading:
    """What to read: a source by name, its root folder, split and options, and how to store its pictures."""

    source: str
    root: Path
    split: str
    storage: Storage = AS_USUAL
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def records(self, part: Part = WHOLE) -> Iterator[Stored | BadRecord]:
        """Raises what `registry.examples` raises."""
        for record in registry.examples(self.source, self.root, self.split, part, **self.options):
            yield record if isinstance(record, BadRecord) else stored(record, self.root, self.storage)


def records(reading: Reading, workers: int = 1) -> Iterator[Stored | BadRecord]:
    """All records; with several processes in the order in which they take turns.

    Raises:
        ChildProcessError: a reader was killed, for instance for want of memory.
    """
    if workers < 2:
        yield from reading.records()
        return
    with _readers(reading, workers) as running:
        while running:
            for process, channel in list(running):
                kind, content = _next(process, channel)
                if kind == "record":
                    yield content
                elif kind == "done":
                    running.remove((process, channel))
                else:
                    raise content


@contextlib.contextmanager
def _readers(reading: Reading, count: int):
    """Processes with a queue each; they end with the block."""
    spawn = multiprocessing.get_context("spawn")  # a fork would copy threads' locks
    channels = [spawn.Queue(_AHEAD) for _ in range(count)]
    processes = [
        spawn.Process(target=_read, args=(reading, (k, count), channel), daemon=True)
        for k, channel in enumerate(channels)
    ]
    for process in processes:
        process.start()
    try:
        yield list(zip(processes, channels))
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _read(reading: Reading, part: Part, channel) -> None:
    try:
        for record in reading.records(part):
            channel.put(("record", record))
        channel.put(("done", None))
    except Exception as error:
        channel.put(("error", error))


def _next(process, channel) -> tuple[str, Any]:
    alive = True
    while alive:
        alive = process.is_alive()  # asked before the queue, so that a last word is heard
        with contextlib.suppress(queue.Empty):
            return channel.get(timeout=_ALIVE_EVERY)
    raise ChildProcessError(
        f"a reader ended with code {process.exitcode}; with fewer workers there is more memory for each"
    )
