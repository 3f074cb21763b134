"""How long a training step of the tiny model waits for its batch."""

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence

import jax

from vglamm_jax.config import VideoGlammConfig
from vglamm_jax.data.mixture import Part
from vglamm_jax.data.pack import Batch, PackConfig
from vglamm_jax.data.pipeline import Batches, DataConfig
from vglamm_jax.train import mesh, start
from vglamm_jax.train import state as states
from vglamm_jax.train.config import MeshConfig, TrainConfig
from vglamm_jax.train.optimizer import optimizer
from vglamm_jax.train.step import make_step

BATCH = 4
THREADS = 2
LEARNT = ("llm", "mm_projector", "image_mm_projector", "text_hidden_fcs", "mask_decoder")


class Trainer:
    """Trains a random model on one device."""

    def __init__(self, cfg: TrainConfig):
        self.mesh, tx = mesh.make_mesh(MeshConfig(), jax.devices()[:1]), optimizer(cfg.optimizer, cfg.steps)
        self.state = states.create(start.starting_model(cfg, self.mesh), cfg, tx, self.mesh)
        self.step = make_step(cfg, tx, self.state)

    def seconds(self, batch: Batch) -> float:
        """One step, from arrays of the host to the last number."""
        began = time.perf_counter()
        with jax.set_mesh(self.mesh):
            self.state, metrics = self.step(self.state, batch._replace(draw=None))
        jax.block_until_ready(metrics)
        return time.perf_counter() - began


def config(model: VideoGlammConfig, steps: int = 1000) -> TrainConfig:
    pack = PackConfig(lengths=(model.video_tokens + 224,), mask_size=model.sam2.image_size // 4)
    data = DataConfig(pack=pack, threads=THREADS, ahead=2 * THREADS)
    return TrainConfig(model=model, data=data, workdir="", steps=steps, batch_size=BATCH, trainable=LEARNT, remat=False)


def stalls(mixtures: Mapping[str, Sequence[Part]], model: VideoGlammConfig, tokenizer, steps: int) -> Iterator[tuple]:
    """(name, per, ms, per second, note) of the step alone, then of the waiting with each mixture."""
    cfg = config(model)
    trainer = Trainer(cfg)
    for number, (name, parts) in enumerate(mixtures.items()):
        stream = Batches(parts, model, cfg.data, tokenizer, BATCH)
        batch = next(stream)
        trainer.seconds(batch)
        if number == 0:
            alone = [trainer.seconds(batch) for _ in range(5)]
            yield _row("a training step of the tiny model, alone", alone, f"batch {BATCH}")
        waited, worked = consume(trainer, stream, steps)
        stream.close()
        share = sum(waited) / (sum(waited) + sum(worked))
        yield _row(f"waiting for {name}", waited, f"{THREADS} threads; {100 * share:.1f}% of the time")


def consume(trainer: Trainer, stream: Batches, steps: int) -> tuple[list[float], list[float]]:
    """Seconds waited for each batch, and worked on it."""
    waited, worked = [], []
    for _ in range(steps):
        asked = time.perf_counter()
        batch = next(stream)
        waited.append(time.perf_counter() - asked)
        worked.append(trainer.seconds(batch))
    return waited, worked


def _row(name: str, times: list[float], note: str) -> tuple:
    seconds = statistics.median(times)
    return name, "step (wall clock)", 1e3 * seconds, 1 / max(seconds, 1e-9), note
