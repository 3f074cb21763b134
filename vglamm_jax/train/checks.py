"""What can be known to be wrong with a config before weights are loaded; a dry run finds the same as a run."""

import dataclasses
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any

import jax
import optax
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from vglamm_jax.data.tokenizer import load_tokenizer
from vglamm_jax.models import layers
from vglamm_jax.models.videoglamm import VideoGlamm
from vglamm_jax.train import features, feed, mesh, metrics, places, start, trainable
from vglamm_jax.train.config import TrainConfig
from vglamm_jax.train.evaluate import Evaluation
from vglamm_jax.train.optimizer import optimizer

LEAST = {
    "steps": 0,
    "save_every": 1,
    "log_every": 1,
    "keep": 1,
    "evaluation.every": 0,
    "evaluation.batches": 1,
    "evaluation.batch_size": 1,
    "evaluation.samples": 0,
}


@dataclasses.dataclass(frozen=True)
class Checked:
    """All of a run but its weights."""

    mesh: Mesh
    shapes: VideoGlamm
    tx: optax.GradientTransformation
    tokenizer_folder: Path
    feed: feed.Feed
    evaluation: Evaluation | None

    def close(self) -> None:
        self.feed.close()
        if self.evaluation is not None:
            self.evaluation.close()


def checked(cfg: TrainConfig, home: str | Path) -> Checked:
    """`home`: the folder in which a toy model without a tokenizer gets one.

    Raises:
      ValueError, OSError, ModuleNotFoundError: the config cannot work; one line.
    """
    # What costs nothing: sizes, names, folders.
    check_counts(cfg)
    places.check(cfg)
    places.check_shared(cfg.workdir)
    devices = mesh.make_mesh(cfg.mesh)
    mesh.check_batch(cfg, devices)
    shapes = layers.abstract(VideoGlamm, cfg.model)
    learnt, _ = trainable.split(shapes, cfg)
    if cfg.features:
        features.check(learnt)
    if cfg.tensorboard:
        metrics.tensorboard_writer()
    tx = optimizer(cfg.optimizer, cfg.steps, cfg.protocol)
    start.check(cfg)
    # Data: a missing set, or a tokenizer that does not fit, shows before the weights take minutes.
    folder = _once(lambda: start.tokenizer_folder(cfg, home))
    tokenizer = load_tokenizer(folder)
    sources = feed.parts(cfg.mixture, cfg.files, cfg.built)
    rows = feed.Feed(cfg, devices, sources, tokenizer, cfg.data, cfg.batch_size)
    evaluation = Evaluation(cfg, devices, tokenizer) if cfg.evaluation.every else None
    return Checked(devices, shapes, tx, folder, rows, evaluation)


def _once(make: Callable[[], Any]) -> Any:
    """What `make` gives, made by the first process before the others look."""
    if jax.process_index() == 0:
        made = make()
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("made by the first process")
    return made if jax.process_index() == 0 else make()


def check_counts(cfg: TrainConfig) -> None:
    """Raises ValueError where a number of steps, checkpoints, batches or pictures is too small to mean anything."""
    for field, least in LEAST.items():
        count = attrgetter(field)(cfg)
        if count is not None and count < least:
            raise ValueError(f"{field}={count}: must be {least} or more")
