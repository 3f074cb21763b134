"""Where the numbers of a run go: metrics.jsonl always, TensorBoard beside it, a line on the screen."""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from vglamm_jax.convert.orbax_store import in_bucket, place
from vglamm_jax.train.places import Mirror


class Writer:
    """Appends to workdir/metrics.jsonl and to TensorBoard's event files; silent on all processes but the first.

    done: steps of the checkpoint that the run goes on from; what an earlier process has written of later ones goes, as
    those are done again. evaluates: whether the run does, and so again at that checkpoint.

    Raises:
      ValueError: a line of metrics.jsonl is not JSON.
      ModuleNotFoundError: TensorBoard is asked for and tensorboardX is not installed.
    """

    def __init__(self, workdir: str | Path, tensorboard: bool = True, done: int | None = None, evaluates: bool = False):
        self.folder, self.events, self.lines, self.mirror = Path(workdir), None, None, None
        writer = tensorboard_writer() if tensorboard else None
        if jax.process_index() == 0:
            if in_bucket(workdir):
                self.mirror = Mirror(place(workdir))
                self.mirror.bring("metrics.jsonl")
                self.folder = self.mirror.here
            self.folder.mkdir(parents=True, exist_ok=True)
            _cut(self.folder / "metrics.jsonl", done, evaluates)
            self.lines = (self.folder / "metrics.jsonl").open("a", encoding="utf-8")
            purge = None if done is None else done + 1
            self.events = writer(str(self.folder / "tensorboard"), purge_step=purge) if writer else None

    def scalars(self, step: int, values: Mapping[str, float | None]) -> None:
        """Numbers of a step by name, `train/loss`; those that are None are left out."""
        known = {name: float(value) for name, value in values.items() if value is not None}
        if self.lines is not None:
            try:
                self.lines.write(json.dumps({"step": step, "time": round(time.time(), 3)} | known) + "\n")
                self.lines.flush()
            except OSError as error:
                raise OSError(error.errno, error.strerror, self.lines.name) from error
        if self.events is not None:
            for name, value in known.items():
                self.events.add_scalar(name, value, step)
            self.events.flush()
        self._follow()

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        """uint8 [H, W, 3] to workdir/samples/<step>_<name>.png."""
        if self.lines is not None:
            path = self.folder / "samples" / f"{step:07d}_{name}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(path)
        if self.events is not None:
            self.events.add_image(f"samples/{name}", pixels, step, dataformats="HWC")

    def _follow(self) -> None:
        """A bucket that does not answer for a while must not end a run: the next minute tries again."""
        try:
            if self.mirror is not None:
                self.mirror.copy()
        except Exception as error:  # gcsfs raises its own, and those of what it is made of
            say(f"{self.mirror.there}: metrics not copied ({' '.join(str(error).split())[:200]}); trying again")

    def close(self) -> None:
        for sink in (self.lines, self.events):
            if sink is not None:
                sink.close()
        if self.mirror is not None:
            self.mirror.close()


def _cut(path: Path, done: int | None, evaluates: bool) -> None:
    """Without a last line that was cut short when the run was killed, nor those that are written again."""
    if not path.exists():
        return
    kept = path.read_bytes().split(b"\n")[:-1]
    if done is not None:
        try:
            kept = [line for line in kept if not _comes_again(json.loads(line), done, evaluates)]
        except (ValueError, KeyError) as error:
            raise ValueError(f"{path}: a line is not one of metrics ({error}); remove it, or the file") from error
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(b"".join(line + b"\n" for line in kept))
    part.replace(path)


def _comes_again(line: Mapping[str, float], done: int, evaluates: bool) -> bool:
    """Later steps, and the evaluation at the checkpoint, which is saved before it is evaluated."""
    judged = any(name.startswith("eval/") for name in line)
    return line["step"] > done or (evaluates and judged and line["step"] == done)


def tensorboard_writer() -> Any:
    """The class that writes TensorBoard's files.

    Raises:
      ModuleNotFoundError: tensorboardX is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "TensorBoard's files need tensorboardX: pip install vglamm_jax[train], or --config.tensorboard=false"
        ) from error
    return SummaryWriter


class Rates:
    """What a stretch of steps took, and how much of it was waiting for data."""

    def __init__(self):
        self.start, self.waited, self.steps, self.tokens, self.frames = time.perf_counter(), 0.0, 0, 0.0, 0

    def wait(self, seconds: float) -> None:
        self.waited += seconds

    def leave_out(self, seconds: float) -> None:
        """What was no training, though it lay between two steps."""
        self.start += seconds

    def add(self, tokens: float, frames: int) -> None:
        self.steps, self.tokens, self.frames = self.steps + 1, self.tokens + tokens, self.frames + frames

    def take(self) -> dict[str, float]:
        """Rates since the last time, and a new start."""
        seconds = max(time.perf_counter() - self.start, 1e-9)
        values = {
            "speed/seconds_per_step": seconds / max(1, self.steps),
            "speed/tokens_per_second": self.tokens / seconds,
            "speed/frames_per_second": self.frames / seconds,
            "speed/data_stall": self.waited / seconds,
        }
        self.__init__()
        return values


def device_memory() -> dict[str, float]:
    """GiB in use and at most so far on the first device here; nothing where the device does not say."""
    stats = jax.local_devices()[0].memory_stats() or {}
    names = {"bytes_in_use": "memory/in_use_gib", "peak_bytes_in_use": "memory/peak_gib"}
    return {label: stats[name] / 2**30 for name, label in names.items() if name in stats}


def say(text: str) -> None:
    """A line on stderr, from the first process alone."""
    if jax.process_index() == 0:
        print(text, file=sys.stderr, flush=True)


def line(step: int, steps: int, values: Mapping[str, float | None]) -> str:
    """`step 20/400  loss 3.102 (ce 2.510, masks 0.592)  norm 1.2  lr 3.0e-04  2.1 s/step  data 3%`."""
    text = (
        f"step {step}/{steps}  loss {values['train/loss']:.4f} (ce {values['train/ce_loss']:.4f}, "
        f"masks {values['train/mask_loss']:.4f})  norm {values['train/grad_norm']:.2f}  "
        f"lr {values['train/learning_rate']:.1e}  {values['speed/seconds_per_step']:.2f} s/step  "
        f"data {values['speed/data_stall']:.0%}"
    )
    mfu = values.get("speed/mfu")
    return text if mfu is None else f"{text}  mfu {mfu:.1%}"
