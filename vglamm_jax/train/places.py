"""Folders of a run: on a disk, or in a bucket (gs://...), where nothing can be appended to or renamed."""

import importlib.util
import secrets
import shutil
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

from vglamm_jax.convert.orbax_store import in_bucket
from vglamm_jax.train.config import TrainConfig

SECONDS = 60.0  # between two copies to a bucket


def check(cfg: TrainConfig) -> None:
    """Before anything is opened: only the run's own folder may be in a bucket.

    Raises:
      ValueError: data or weights are to be read from a bucket.
      ModuleNotFoundError: the run's folder is in one, and what reads buckets is not installed.
    """
    start = cfg.start
    read = {"built": cfg.built, "features": cfg.features, "start.checkpoint": start.checkpoint}
    read |= {f"start.{name}": getattr(start, name) for name in ("tokenizer", "clip", "internvideo2", "sam2")}
    read |= {f"start.parts.{i}": folder for i, folder in enumerate(start.parts)}
    read |= {f"files.{i}.path": files.path for i, files in enumerate((*cfg.files, *cfg.evaluation.files))}
    for field, folder in read.items():
        if folder is not None and in_bucket(folder):
            raise ValueError(
                f"{field}={folder}: must be on a disk; copy it to each machine (launch/tpu_vm.sh --copy) or mount it"
            )
    if in_bucket(cfg.workdir) and not any(map(importlib.util.find_spec, ("gcsfs", "tensorflow"))):
        raise ModuleNotFoundError(f"workdir={cfg.workdir}: needs gcsfs; pip install vglamm_jax[tpu]")


def check_shared(workdir: str) -> None:
    """Every process writes its shards to the run's folder, and all of them read it: it must be one and the same.

    Raises:
      ValueError: on all processes, where one does not see what another wrote there.
    """
    if jax.process_count() == 1 or in_bucket(workdir):
        return
    mark = Path(workdir) / ".seen-by-all"
    word = str(int(multihost_utils.broadcast_one_to_all(np.int32(secrets.randbits(31)))))
    if jax.process_index() == 0:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text(word)
    multihost_utils.sync_global_devices("the mark is there")
    seen = mark.is_file() and mark.read_text() == word
    everywhere = multihost_utils.process_allgather(np.bool_(seen)).all()
    if jax.process_index() == 0:
        mark.unlink()
    if not everywhere:
        raise ValueError(f"workdir={workdir}: is not the same folder for all processes; use gs:// or a shared disk")


class Mirror:
    """A folder on this machine, `here`, whose files are copied to a bucket when they have changed.

    What appends to files (metrics, TensorBoard) writes here; the bucket follows within a minute, and at the end.
    """

    def __init__(self, there: epath.Path):
        self.there, self.here = there, Path(tempfile.mkdtemp(prefix="vglamm-"))
        self.copied: dict[Path, tuple[int, int]] = {}
        self.last = time.monotonic()

    def bring(self, name: str) -> None:
        """A file of the bucket to go on with, if it is there."""
        if (self.there / name).exists():
            (self.here / name).write_bytes((self.there / name).read_bytes())

    def copy(self, now: bool = False) -> None:
        """What has changed to the bucket, unless that was less than a minute ago.

        Raises:
          OSError: the bucket cannot be written to.
        """
        if not now and time.monotonic() - self.last < SECONDS:
            return
        self.last = time.monotonic()
        for path in sorted(self.here.rglob("*")):
            state = path.stat().st_size, path.stat().st_mtime_ns
            if path.is_file() and self.copied.get(path) != state:
                (self.there / path.relative_to(self.here)).write_bytes(path.read_bytes())
                self.copied[path] = state

    def close(self) -> None:
        self.copy(now=True)
        shutil.rmtree(self.here)
