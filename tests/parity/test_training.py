"""The original's training step: losses, gradient norms and whole gradients of the golden batch."""

import jax
import pytest
from conftest import THOROUGH

from vglamm_jax.convert import source
from vglamm_jax.infer import parity
from vglamm_jax.infer.parity_case import Case
from vglamm_jax.train import parity as training


@pytest.mark.slow
def test_the_golden_training_case(exact_golden, monkeypatch):
    thorough = jax.jit(training._gradients.__wrapped__, static_argnames="cfg", compiler_options=THOROUGH)
    monkeypatch.setattr(training, "_gradients", thorough)
    model, cfg, tokenizer = source.load(exact_golden)
    case = Case(exact_golden, model, cfg, tokenizer)
    stages = training.stages(case)
    kinds = [stage.name.partition(":")[0] for stage in stages]
    assert {kind: kinds.count(kind) for kind in kinds} == {"loss": 5, "grad_norm": 141, "grad": 4}
    assert [result for result in (parity.compare(stage, case) for stage in stages) if not result.passed] == []
    # Nothing passes by being too small to matter but what is below the floor.
    off = {stage.key: case.golden[stage.key] * 1.002 for stage in stages}
    blind = [stage.name for stage in stages if parity.compare(stage, case, off).passed]
    floor = stages[5].floor
    assert floor == pytest.approx(1e-6 * 140.3028564453125)
    assert all(case.golden[name] < floor for name in blind) and len(blind) < 40
    training.trained.cache_clear()
