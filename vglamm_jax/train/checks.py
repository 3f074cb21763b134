"""What can be known to be wrong with a config before weights are loaded."""

from operator import attrgetter

from vglamm_jax.train.config import TrainConfig

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


def check_counts(cfg: TrainConfig) -> None:
    """Raises ValueError where a number of steps, checkpoints, batches or pictures is too small to mean anything."""
    for field, least in LEAST.items():
        count = attrgetter(field)(cfg)
        if count is not None and count < least:
            raise ValueError(f"{field}={count}: must be {least} or more")
