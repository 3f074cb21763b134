"""Batches for this process, and from the rows of every process one array on the mesh."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vglamm_jax.data import shares
from vglamm_jax.data.mixture import Draw, InMemory, Part, draws
from vglamm_jax.data.pack import Batch
from vglamm_jax.data.pipeline import Batches, DataConfig
from vglamm_jax.data.schema import BadRecord
from vglamm_jax.data.sources import find
from vglamm_jax.sharding import BATCH
from vglamm_jax.train.config import FilesConfig, TrainConfig


def parts(mixture: Sequence[shares.Share], files: Iterable[FilesConfig], built: str) -> list[Part]:
    """The sources of a mixture: built sets by name, and data read as it lies there.

    Raises:
      FileNotFoundError, ValueError: a data set is missing or holds nothing that can be used; names it.
    """
    return shares.parts(mixture, built) + [_read(one) for one in files]


def _read(files: FilesConfig) -> Part:
    path = Path(files.path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder; it is named in `files` of the config")
    records = [record for record in find.examples(path, files.split, files.source) if not isinstance(record, BadRecord)]
    if missing := sorted(set(files.ids) - {record.id for record in records}):
        raise ValueError(f"{path}: has no usable example {', '.join(missing)}; see `vglamm data validate {path}`")
    records = [record for record in records if not files.ids or record.id in files.ids]
    if not records:
        raise ValueError(f"{path}: holds no example that can be used; `vglamm data validate {path}` says why")
    return Part(
        InMemory(f"{path} {' '.join(files.ids)}".rstrip(), records, find.root_of(path)), files.weight, files.frames
    )


class Feed(Iterator[tuple[Batch, np.ndarray]]):
    """(batch on the mesh, numbers of the draws of this process's rows), without end.

    `step` is the number of the next batch and all there is to save. Devices that share rows, along "tensor", get the
    same ones; so do processes.
    """

    def __init__(self, cfg: TrainConfig, mesh: Mesh, sources: list[Part], tokenizer, data: DataConfig, batch_size: int):
        self.place = NamedSharding(mesh, PartitionSpec(BATCH))
        self.sources, self.seed, self.batch_size = sources, data.seed, batch_size
        mine = held_rows(self.place.addressable_devices_indices_map((batch_size,)), batch_size)
        agree = _longest if jax.process_count() > 1 else None
        self.batches = Batches(sources, cfg.model, data, tokenizer, batch_size, rows=mine, agree=agree)

    @property
    def step(self) -> int:
        return self.batches.step

    def seek(self, step: int) -> None:
        self.batches.seek(step)

    def __next__(self) -> tuple[Batch, np.ndarray]:
        local = next(self.batches)
        return self.on_mesh(local), local.draw

    def on_mesh(self, local: Batch) -> Batch:
        def put(rows: np.ndarray) -> jax.Array:
            return jax.make_array_from_process_local_data(self.place, rows, (self.batch_size, *rows.shape[1:]))

        return jax.tree.map(put, local._replace(draw=None))

    def records(self, numbers: Iterable[int]) -> list[dict]:
        """What was drawn, for a report: the source and the record of each draw."""
        stream = draws(self.sources, self.seed)
        found: list[Draw] = [stream[int(number)] for number in numbers]
        return [
            {"draw": one.number, "source": repr(self.sources[one.part].source), "record": one.record} for one in found
        ]

    def close(self) -> None:
        self.batches.close()


def held_rows(held: Mapping[Any, tuple[slice]], rows: int) -> list[int]:
    """Numbers of the rows that devices hold, ascending, each once.

    They need not lie together: the chips of a host are a square of the pod, and an axis of the mesh runs along rows
    of chips.
    """
    return sorted({number for (span,) in held.values() for number in range(*span.indices(rows))})


def _longest(length: int) -> int:
    return int(multihost_utils.process_allgather(np.int32(length)).max())
