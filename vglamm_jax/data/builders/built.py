"""Examples of a built data set by number, as grain wants them."""

import json
import os
import zlib
from pathlib import Path
from typing import SupportsIndex

from vglamm_jax.data.builders.build import directory_of
from vglamm_jax.data.builders.report import read_report
from vglamm_jax.data.builders.stored import restored
from vglamm_jax.data.glimpse import glimpse
from vglamm_jax.data.schema import Example

PIECES = 16  # of each file with examples are looked at


class BuiltSource:
    """Random access to what `build` has written: `len`, and `[i]` -> Example whose frames are in `Media.encoded`.

    Files are opened with the first example, in each process of its own; the order is that of the files.

    Raises:
        FileNotFoundError: nothing was built there; names the command that does.
    """

    def __init__(self, out: str | os.PathLike, name: str, split: str = "train"):
        self.out, self.name, self.split = os.fspath(out), name, split
        self.directory = directory_of(out, name, split)
        if not self.directory.exists():
            raise FileNotFoundError(
                f"{self.directory} is missing; build it: vglamm data build {name} --root FOLDER --out {self.out} "
                f"--split {split}"
            )
        self._length = read_report(self.directory).examples
        self._records = None

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: SupportsIndex) -> Example:
        """Raises IndexError."""
        number = range(self._length)[index]
        record = self._opened()[number]
        return restored(_text(record["example"]), [bytes(frame) for frame in record["frames"]])

    def __repr__(self) -> str:
        return f"BuiltSource({self.out!r}, {self.name!r}, {self.split!r})"

    def identity(self) -> str:
        return f"BuiltSource({self.name!r}, {self.split!r}, {len(self)} examples)"

    def contents(self) -> str:
        """A digest of what was asked for and of the files that were written; the same wherever they lie."""
        shards = sorted(Path(self.directory).glob("*.array_record*"))
        said = [read_report(self.directory).asked, [[shard.name, glimpse(shard, PIECES)] for shard in shards]]
        return f"{zlib.crc32(json.dumps(said).encode()):08x}"

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_records": None}

    def _opened(self):
        if self._records is None:
            import tensorflow_datasets as tfds

            self._records = tfds.builder_from_directory(self.directory).as_data_source(self.split)
        return self._records


def _text(value: bytes | str) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else value
