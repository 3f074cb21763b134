"""The data benchmark measures the pipeline itself, and what it compares does the same work."""

import jax
import numpy as np
import pytest

from vglamm_jax.bench import data, data_consumer
from vglamm_jax.config import load_config
from vglamm_jax.data.mixture import Draw
from vglamm_jax.data.pack import PackConfig
from vglamm_jax.data.pipeline import Batches, DataConfig, Prepare
from vglamm_jax.data.tokenizer import load_tokenizer, tiny_tokenizer
from vglamm_jax.data.video import open_video


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    return data.Files(tmp_path_factory.mktemp("media"), count=24, size=(48, 64))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return load_tokenizer(tiny_tokenizer(tmp_path_factory.mktemp("tokenizer")))


def test_every_step_is_measured_and_the_slowest_named(media, tokenizer):
    rows = list(data.stages(media, load_config("tiny"), tokenizer, examples=2, supervised=2))
    assert [row.name for row in rows] == 3 * [*data.STEPS.values(), "all steps"]
    for kind in range(3):
        *steps, whole = rows[kind * (len(data.STEPS) + 1) :][: len(data.STEPS) + 1]
        assert sum(step.ms for step in steps) == pytest.approx(whole.ms)
        slowest = max(steps, key=lambda step: step.ms)
        assert [step.note for step in steps if step.note] == ["<- slowest"] == [slowest.note]
        assert whole.note == f"slowest: {slowest.name}"


def test_measuring_changes_nothing(media, tokenizer):
    cfg = load_config("tiny")
    config = DataConfig(pack=PackConfig(lengths=(512,), frames=2, mask_size=32))
    for part in media.parts():
        plain, measured = (Prepare([part], cfg, config, tokenizer) for _ in range(2))
        spent = data.clocked(measured, data.STEPS)
        for a, b in zip(plain(Draw(3, 0, 0)).arrays, measured(Draw(3, 0, 0)).arrays):
            np.testing.assert_array_equal(a, b)
        assert set(spent) == set(data.STEPS) - {"collate"}


def test_ours_and_the_bare_libraries_decode_the_same(media):
    rows = list(data.decoding(media, runs=1))
    assert sum("x bare" in row.note for row in rows) == 2 and all(row.ms > 0 for row in rows)
    for ours, bare in zip(open_video(media.video).frames(), data.bare_video(media.video), strict=True):
        np.testing.assert_array_equal(ours, bare)
    differences = [np.abs(data.read_image(p).astype(int) - data.bare_image(p)).max() for p in media.pictures]
    assert max(differences) <= 8  # other decoders


def test_the_consumer_eats_batches(media, tokenizer):
    """Traced, not compiled: a batch fits the model, images and videos in one table of visual rows."""
    cfg = data_consumer.config(load_config("tiny"))
    batch = next(Batches(media.parts(), cfg.model, cfg.data, tokenizer, data_consumer.BATCH))
    assert batch.visual.max() < cfg.model.video_tokens + cfg.model.image_tokens
    trainer = data_consumer.Trainer(cfg)
    state, metrics = jax.eval_shape(trainer.step, trainer.state, batch._replace(draw=None))
    assert jax.tree.structure(state) == jax.tree.structure(trainer.state)
    assert {"loss", "grad_norm", "finite"} <= metrics.keys() and metrics["loss"].shape == ()


def test_numbers_below_one_are_refused():
    with pytest.raises(ValueError, match="must be 1 or more"):
        data.run(examples=0)
