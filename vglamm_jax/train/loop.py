"""The training loop. `train` is the whole of it: what it builds, and in which order it does things and why."""

import contextlib
import dataclasses
import json
import tempfile
import time
from collections import deque

import jax
import numpy as np

from vglamm_jax.config import to_json
from vglamm_jax.convert.engine import leaves
from vglamm_jax.convert.orbax_store import place
from vglamm_jax.data.pack import Batch
from vglamm_jax.train import export, flops, start, trainable
from vglamm_jax.train import state as states
from vglamm_jax.train.checkpoint import Checkpoints
from vglamm_jax.train.checks import Checked, checked
from vglamm_jax.train.config import TrainConfig
from vglamm_jax.train.evaluate import batch_frames
from vglamm_jax.train.features import IN_STEP, Features, row_bytes, without_pixels
from vglamm_jax.train.forward import Encoded
from vglamm_jax.train.memory import fitting
from vglamm_jax.train.metrics import Rates, Writer, device_memory, line, say
from vglamm_jax.train.preemption import Preemption
from vglamm_jax.train.state import State
from vglamm_jax.train.step import make_step


class NotFinite(ValueError):
    """A loss or gradient was not a number; the message names the file that says which rows it came from."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended: all steps done, or stopped after a checkpoint because the machine is taken away."""

    step: int
    finished: bool


def train(cfg: TrainConfig, preemption: Preemption | None = None) -> Outcome:
    """Trains, or goes on training, until `cfg.steps` or until the process is told to end (SIGTERM).

    `preemption`: the one that listens already, where the caller has one.

    Raises:
      ValueError, OSError: the config cannot work; before the first step, in one line. So `DoesNotFit`, at the first
        step, where the devices have too little memory.
      NotFinite: the run diverged. Nothing of the bad step is kept.
    """
    if preemption is None:
        with Preemption() as preemption:
            return train(cfg, preemption)
    with fitting():
        run = Run(cfg)
        with jax.set_mesh(run.mesh), contextlib.closing(run):
            return _steps(run, preemption)


def _steps(run: "Run", preemption: Preemption) -> Outcome:
    cfg, state = run.cfg, run.state
    for step in range(int(state.step), cfg.steps):
        # Preemption first: seconds count. The state is that of `step` updates and the stream waits at batch `step`.
        if preemption.reached(step):
            run.save(step, state)
            run.checkpoints.wait()
            say(f"told to end: saved step {step}; the same command goes on from there")
            return Outcome(step, finished=False)
        # Save before the next batch is drawn, so that the stream's position is that of the state.
        if run.checkpoints.due(step):
            run.save(step, state)
        # Evaluate before the step, so that step 0 is the untrained model and no step is measured twice.
        if run.evaluation is not None and step % cfg.evaluation.every == 0:
            run.evaluate(step, state)
        batch, numbers, encoded = run.draw(state)
        # Dispatch only: the devices work while the next lines look at the step before.
        state, metrics = run.begin(state, batch, encoded)
        preemption.begun.set()
        run.pending.append((step, metrics, numbers, batch.ids.shape[1], batch_frames(batch)))
        # One step behind, so that the devices always have work: what is read here is already there.
        if len(run.pending) > 1:
            run.look()
    # The last metrics before anything is saved: a run that diverged at its end must not look finished.
    while run.pending:
        run.look()
    run.save(cfg.steps, state)
    if run.evaluation is not None:
        run.evaluate(cfg.steps, state)
    run.checkpoints.wait()
    if cfg.export:
        folder = export.export(state, cfg, run.tokenizer_folder)
        say(f"the finished model: {folder}")
    return Outcome(cfg.steps, finished=True)


class Run:
    """Everything that the loop uses, made and checked in an order that finds mistakes of the config soonest."""

    def __init__(self, cfg: TrainConfig):
        self.cfg = cfg
        found = checked(cfg, cfg.workdir)
        self.mesh, self.feed, self.evaluation = found.mesh, found.feed, found.evaluation
        self.tokenizer_folder = found.tokenizer_folder
        self.checkpoints = Checkpoints(cfg)
        # Weights. Which ones win: a checkpoint of this run, then `start.parts`, then `start.checkpoint`, then chance.
        self.state: State = states.create(start.starting_model(cfg, self.mesh), cfg, found.tx, self.mesh)
        if self.checkpoints.latest() is not None:
            self.state = self.checkpoints.restore(self.state, self.feed.batches.identity)
            self.feed.seek(int(self.state.step))
            say(f"going on from step {int(self.state.step)} of {self.checkpoints.folder}")
        evaluates = self.evaluation is not None
        self.writer = Writer(cfg.workdir, cfg.tensorboard, int(self.state.step), evaluates)
        self.learnt = list(leaves(self.state.train))
        self.features = Features(cfg, self.state, self.mesh) if cfg.features else None
        self.step = make_step(cfg, found.tx, self.state)
        self.pending: deque[tuple[int, dict, np.ndarray, int, int]] = deque()
        self.rates = Rates()
        if jax.process_index() == 0:
            config = json.dumps(to_json(cfg), indent=1) + "\n"
            (place(cfg.workdir) / "config.json").write_text(config)

    def draw(self, state: State) -> tuple[Batch, np.ndarray, Encoded | None]:
        """The next batch; what the loop waits for here, the devices may be waiting for, too.

        With a feature cache it comes without pixels, and with what the encoders say of them.
        """
        began, encoded = time.perf_counter(), None
        if self.features is None:
            batch, numbers = next(self.feed)
        else:
            local = next(self.feed.batches)
            encoded, numbers = self.features(state.frozen, local), local.draw
            batch = self.feed.on_mesh(without_pixels(local))
        self.rates.wait(time.perf_counter() - began)
        return batch, numbers, encoded

    def begin(self, state: State, batch: Batch, encoded: Encoded | None) -> tuple[State, dict[str, jax.Array]]:
        """A step. One of a new shape is compiled first, which takes minutes for large models and is no training."""
        known, began = self.step._cache_size(), time.perf_counter()
        begun = self.step(state, batch, encoded)
        if self.step._cache_size() > known:
            seconds = time.perf_counter() - began
            self.rates.leave_out(seconds)
            say(f"compiled the step for rows of {batch.ids.shape[1]} positions in {seconds:.0f} s")
        return begun

    def look(self) -> None:
        """At the oldest metrics not yet seen: stops the run, or reports it."""
        step, metrics, numbers, positions, frames = self.pending.popleft()
        values = {name: float(value) for name, value in metrics.items()}
        if not values.pop("finite"):
            self._stop(step, values, numbers)
        self.rates.add(values.pop("tokens"), frames)
        done = step + 1
        if done % self.cfg.log_every and done != self.cfg.steps:
            return
        said = {f"train/{name}": value for name, value in values.items()} | self.rates.take() | device_memory()
        parts = flops.of_step(self.cfg, positions, self.learnt)
        work = sum(value for name, value in parts.items() if self.features is None or name not in IN_STEP)
        kind, chips = jax.devices()[0].device_kind, jax.device_count()
        said["speed/tflops"] = work / said["speed/seconds_per_step"] / 1e12
        said["speed/mfu"] = flops.utilisation(work, said["speed/seconds_per_step"], kind, chips)
        said |= self.features.take() if self.features is not None else {}
        said["data/passed_over"] = float(self.feed.batches.bad.total)
        self.writer.scalars(done, said)
        say(line(done, self.cfg.steps, said))

    def _stop(self, step: int, values: dict[str, float], numbers: np.ndarray) -> None:
        """Every process writes the rows it had; the checkpoint before is where to look from."""
        path = place(self.cfg.workdir) / f"not_finite_{jax.process_index()}.json"
        records = self.feed.records(numbers)
        path.write_text(json.dumps({"step": step, "metrics": values, "rows": records}, indent=1) + "\n")
        raise NotFinite(
            f"step {step}: loss {values['loss']}, gradient norm {values['grad_norm']}; the rows are in {path}. Look "
            "at them, or lower optimizer.learning_rate: the same command goes on from the checkpoint before"
        )

    def save(self, step: int, state: State) -> None:
        # A step that was not finite may still be unseen: it must not be taken for progress.
        while self.pending:
            self.look()
        self.checkpoints.save(step, state, self.feed.batches.identity)

    def evaluate(self, step: int, state: State) -> None:
        scores, pictures = self.evaluation(state)
        self.writer.scalars(step, scores)
        for number, picture in enumerate(pictures):
            self.writer.picture(step, f"row{number}", picture)
        say(f"step {step}  J&F {scores['eval/j_and_f']:.3f}  J (mIoU) {scores['eval/j']:.3f}  F {scores['eval/f']:.3f}")
        self.rates.take()  # what this took is no training

    def close(self) -> None:
        self.feed.close()
        self.checkpoints.close()
        self.writer.close()
        if self.features is not None:
            say(f"features in {self.cfg.features}: {self.features.summary()}")
            self.features.close()
        if self.evaluation is not None:
            self.evaluation.close()


def describe(cfg: TrainConfig) -> str:
    """What a run of this config would be: data, parameters, memory and work of a step; nothing is loaded.

    Raises:
      ValueError, OSError, ModuleNotFoundError: as `train`, for everything but what the weights hold.
    """
    with tempfile.TemporaryDirectory() as home, contextlib.closing(checked(cfg, home)) as found:
        return "\n".join(_described(cfg, found))


def _described(cfg: TrainConfig, found: Checked) -> list[str]:
    state = states.abstract(found.shapes, cfg, found.tx, found.mesh)
    held = sum(np.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(state))
    work = flops.of_step(cfg, cfg.data.pack.lengths[-1], leaves(state.train))
    lines = [f"mesh        {dict(found.mesh.shape)}, {cfg.batch_size} rows a step in {cfg.accumulate} micro-batches"]
    lines += [
        f"data        {part.weight:g} x {part.source!r}: {len(part.source):,} examples" for part in found.feed.sources
    ]
    lines += [f"trains      {text}" for text in trainable.summary(found.shapes, cfg.trainable).splitlines()]
    lines += [f"state       {held / 2**30:.2f} GiB a device, without activations"]
    if cfg.features:
        lines += [f"features    {row_bytes(cfg) / 1e6:,.1f} MB a row in {cfg.features}"]
    lines += [f"step        {sum(work.values()) / 1e12:.3f} TFLOP: " + ", ".join(_shares(work))]
    return lines


def _shares(work: dict[str, float]) -> list[str]:
    return [f"{name} {value / sum(work.values()):.0%}" for name, value in work.items()]
