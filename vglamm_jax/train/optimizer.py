"""AdamW with warm-up and decay, as an optax transformation (facts 5.5)."""

import jax
import jax.numpy as jnp
import optax

from vglamm_jax.train.config import OptimizerConfig, Protocol


def schedule(cfg: OptimizerConfig, steps: int, protocol: Protocol = "default") -> optax.Schedule:
    """Number of the update, from 0 on -> its learning rate.

    The first update of the warm-up already moves, the last of it has the full rate, and the last of all still learns
    a little. The original's scheduler runs late: its first update takes the full rate, the second none, and each
    later one the rate of two updates before, which starts at 0; `protocol="reference"`.

    Raises:
      ValueError: a warm-up that is longer than the run.
    """
    if cfg.schedule != "constant" and not 0 <= cfg.warmup <= steps:
        raise ValueError(f"optimizer.warmup={cfg.warmup} must lie between 0 and steps={steps}")

    def falling(after_warmup: jax.Array) -> jax.Array:
        done = jnp.clip(after_warmup / max(1, steps - cfg.warmup), 0, 1)
        left = {"linear": 1 - done, "cosine": (1 + jnp.cos(jnp.pi * done)) / 2, "constant": jnp.ones_like(done)}
        return cfg.final + (1 - cfg.final) * left[cfg.schedule]

    def rate(update: jax.Array) -> jax.Array:
        update = jnp.asarray(update, jnp.float32)
        rising = (update + 1) / max(1, cfg.warmup)
        return cfg.learning_rate * jnp.where(update < cfg.warmup, rising, falling(update - cfg.warmup))

    def late_rate(update: jax.Array) -> jax.Array:
        count = jnp.asarray(update, jnp.float32) - 1
        share = jnp.where(count < cfg.warmup, count / max(1, cfg.warmup), falling(count - cfg.warmup))
        return cfg.learning_rate * jnp.where(count < 0, 1.0, share)

    return late_rate if protocol == "reference" else rate


def optimizer(cfg: OptimizerConfig, steps: int, protocol: Protocol = "default") -> optax.GradientTransformation:
    """Clips by the global norm, then AdamW; its moments are float32 like the parameters it is given."""
    b1, b2 = cfg.betas
    adamw = optax.adamw(schedule(cfg, steps, protocol), b1, b2, cfg.eps, weight_decay=cfg.weight_decay)
    return adamw if cfg.clip is None else optax.chain(optax.clip_by_global_norm(cfg.clip), adamw)
