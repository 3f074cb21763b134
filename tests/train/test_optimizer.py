"""Learning rates of every update, and what an update does."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vglamm_jax.train.config import OptimizerConfig
from vglamm_jax.train.optimizer import optimizer, schedule

CFG = OptimizerConfig(learning_rate=1.0, warmup=4)


def rates(cfg: OptimizerConfig, steps: int, protocol="default") -> np.ndarray:
    rate = schedule(cfg, steps, protocol)
    return np.array([rate(jnp.int32(update)) for update in range(steps)])


def test_it_rises_to_the_full_rate_and_falls_almost_to_zero():
    np.testing.assert_allclose(rates(CFG, 8), [0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25])


def test_cosine_ends_at_the_final_share():
    found = rates(OptimizerConfig(learning_rate=2.0, warmup=0, schedule="cosine", final=0.1), 100)
    assert found[0] == 2.0 and np.all(np.diff(found) < 0)
    np.testing.assert_allclose(found[50], 2 * (0.1 + 0.9 * 0.5), rtol=1e-6)
    assert 0.2 < found[-1] < 0.202


def test_the_originals_scheduler_is_one_update_late():
    """Full rate, none, then the rate of two updates before (facts 5.5)."""
    gamma = [0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25]
    np.testing.assert_allclose(rates(CFG, 8, "reference"), [1, *gamma[:7]])


def test_a_warmup_longer_than_the_run_is_refused():
    with pytest.raises(ValueError, match=r"optimizer\.warmup=100 must lie between 0 and steps=50"):
        schedule(OptimizerConfig(), 50)


def test_gradients_are_clipped_together_before_adam_sees_them():
    cfg = OptimizerConfig(learning_rate=0.1, warmup=0, schedule="constant", clip=1.0, weight_decay=0.0)
    tx, params = optimizer(cfg, 10), {"a": jnp.zeros(2), "b": jnp.zeros(1)}
    huge, one = ({"a": scale * jnp.array([3.0, 0.0]), "b": scale * jnp.array([4.0])} for scale in (100.0, 0.2))
    states = [tx.update(grads, tx.init(params), params)[1] for grads in (huge, one)]
    moments = [optax.tree_utils.tree_get(state, "mu") for state in states]
    for name in params:
        np.testing.assert_allclose(moments[0][name], moments[1][name], rtol=1e-6)
