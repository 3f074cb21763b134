"""Conversion of a whole checkpoint there and back: time against a plain copy, and peak memory.

The checkpoint is made up: every tensor of the model's config in bfloat16, random, in the released layout.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np

from vglamm_jax.config import VideoGlammConfig, load_model_config
from vglamm_jax.convert import engine, tables, torch_export
from vglamm_jax.convert.checkpoint import Checkpoint, Sizes
from vglamm_jax.convert.publish import require_space, size
from vglamm_jax.convert.torch_io import LazyTensor
from vglamm_jax.models import layers
from vglamm_jax.models.videoglamm import VideoGlamm

COLUMNS = {"step": 34, "GB": 7, "seconds": 8, "MB/s": 7, "of cp -r": 8, "peak GiB": 8}
BLOCK = 2**25  # random values, of which every tensor is a different cut
ROOM = 5  # copies of the checkpoint that are on the disk at most, rounded up


@dataclass(frozen=True)
class Row:
    """One step: bytes moved, seconds, seconds as a multiple of the copy, peak resident memory of its process."""

    step: str
    nbytes: int
    seconds: float
    ratio: float | None = None
    peak_bytes: int | None = None


def cells(row: Row) -> Iterable[str]:
    ratio = f"{row.ratio:.2f}" if row.ratio is not None else "-"
    peak = f"{row.peak_bytes / 2**30:.2f}" if row.peak_bytes is not None else "-"
    return (
        row.step,
        f"{row.nbytes / 1e9:.2f}",
        f"{row.seconds:.1f}",
        f"{row.nbytes / 1e6 / row.seconds:.0f}",
        ratio,
        peak,
    )


def run(config: str, folder: Path, kind: torch_export.Format, report: Callable[[Row], None]) -> list[Row]:
    """Makes a checkpoint, copies it, converts it to Orbax and back, and compares.

    All of that in a new folder inside `folder`, which is removed at the end; nothing else in `folder` is touched.
    """
    cfg = load_model_config(config)
    rows: list[Row] = []

    def add(step: str, nbytes: int, seconds: float, base: float | None = None, peak: int | None = None) -> None:
        rows.append(Row(step, nbytes, seconds, seconds / base if base else None, peak))
        report(rows[-1])

    made = synthetic(cfg)
    require_space(folder, ROOM * made.nbytes)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-convert-", dir=folder) as work:
        source, copy, orbax, back = (Path(work) / name for name in ("source", "copy", "orbax", "back"))
        began = time.perf_counter()
        torch_export.export(made, source, kind, shard_bytes=int(5e9), progress=None)
        _sync()
        add("make the checkpoint", size(source), time.perf_counter() - began)
        base = _timed(["cp", "-r", str(source), str(copy)])[0]
        add("cp -r, to the disk (sync)", size(source), base, base)
        shutil.rmtree(copy)
        to = "pytorch" if kind == "bin" else "safetensors"
        seconds, peak = _timed([*_vglamm(), "convert", str(source), str(orbax), "--quiet"])
        add(f"{to} to Orbax", size(source), seconds, base, peak)
        seconds, peak = _timed([*_vglamm(), "convert", str(orbax), str(back), "--to", to, "--quiet"])
        add(f"Orbax to {to}", size(back), seconds, base, peak)
        seconds, peak = _timed([*_vglamm(), "convert", "--verify", str(source), str(back), "--quiet"])
        add("--verify: every tensor equal", 2 * made.nbytes, seconds, base, peak)
    return rows


def _vglamm() -> list[str]:
    return [sys.executable, "-m", "vglamm_jax.cli"]


def _timed(command: list[str]) -> tuple[float, int]:
    """Seconds until the result is on the disk, and the peak resident bytes of the process."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise OSError(f"{' '.join(command)} failed: {' '.join(said.split())[-400:]}")
    _sync()
    return time.perf_counter() - began, usage.ru_maxrss * 1024


def _sync() -> None:
    os.sync()


def synthetic(cfg: VideoGlammConfig) -> Checkpoint:
    """A whole model of `cfg` whose tensors are made up when they are read."""
    module = layers.abstract(VideoGlamm, cfg)
    shapes = engine.abstract_checkpoint(module, tables.videoglamm(cfg), tables.videoglamm_extras(cfg))
    block = np.random.default_rng(0).standard_normal(BLOCK, dtype=np.float32)
    block = (block * 0.02).astype(ml_dtypes.bfloat16)
    return Checkpoint(
        where="synthetic",
        tensors={name: _made_up(name, shape, block) for name, shape in shapes.items()},
        sizes=Sizes(clip=cfg.clip, internvideo2=cfg.internvideo2, llm=cfg.llm, sam2=cfg.sam2),
        model=cfg,
    )


def _made_up(name: str, shape: tuple[int, ...], block: np.ndarray) -> LazyTensor:
    def read() -> np.ndarray:
        count = int(np.prod(shape, dtype=np.int64))
        start = zlib.crc32(name.encode()) % (BLOCK // 2)
        return np.resize(block[start:], count).reshape(shape)

    return LazyTensor(tuple(shape), np.dtype(ml_dtypes.bfloat16), read, Path(name))
