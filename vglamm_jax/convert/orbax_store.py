"""Arrays of an Orbax tree one by one, and layers of a stack one by one, without Orbax."""

import functools
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
from etils import epath

from vglamm_jax.convert import engine
from vglamm_jax.convert.torch_io import CheckpointError


def in_bucket(folder: str | os.PathLike) -> bool:
    return os.fspath(folder).startswith("gs://")


def place(where: str | os.PathLike) -> epath.Path:
    """Absolute: Orbax reads nothing else, and epath's `absolute` takes an address of a bucket for a relative path."""
    return epath.Path(where if in_bucket(where) else os.path.abspath(where))


class Store:
    """The arrays of one Orbax tree by name: Zarr inside a key-value store (OCDBT)."""

    def __init__(self, folder: Path):
        self.folder, self.context, self.opened = folder, ts.Context(), {}

    def read(self, name: str, index: int | None = None) -> np.ndarray:
        """An array, or the part of it at an index of its first axis, without reading the rest.

        Raises:
          CheckpointError: a file is missing or damaged.
        """
        try:
            if name not in self.opened:
                self.opened[name] = ts.open(self._spec(name), open=True, read=True, context=self.context).result()
            stored = self.opened[name]
            return np.asarray((stored if index is None else stored[index]).read().result())
        except (OSError, ValueError) as error:
            raise damaged(self.folder, name, error) from error

    def tensor(self, slot: engine.Slot) -> np.ndarray:
        """What PyTorch has in a place of a parameter."""
        return slot.row.transform.to_torch(self.read(slot.path.replace("/", "."), slot.index))

    def _spec(self, name: str) -> dict[str, Any]:
        base = self.folder if in_bucket(self.folder) else f"file://{self.folder.absolute()}"
        kvstore = {"driver": "ocdbt", "base": f"{base}/", "path": f"{name}/"}
        return {"driver": "zarr3" if self.metadata.get("use_zarr3") else "zarr", "kvstore": kvstore}

    @functools.cached_property
    def metadata(self) -> dict[str, Any]:
        return json.loads((self.folder / "_METADATA").read_text(encoding="utf-8"))


def damaged(folder: Path, name: str, error: Exception) -> CheckpointError:
    reason = " ".join(str(error).split())[:200]
    return CheckpointError(f"{folder}: {name} cannot be read ({reason}); copy or convert it again")
