"""The assembly: table 4's encoder choices, and where visual rows land in a prompt. Shapes only, so nothing compiles."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vglamm_jax.config import load_config
from vglamm_jax.infer.demo import random_weights
from vglamm_jax.models import layers
from vglamm_jax.models.videoglamm import VideoGlamm


def abstract(encoders: str) -> VideoGlamm:
    cfg = dataclasses.replace(load_config("tiny"), encoders=encoders)
    return layers.abstract(VideoGlamm, cfg)


@pytest.mark.parametrize("encoders", ["both", "image", "video"])
def test_each_choice_of_encoders_gives_its_rows(encoders):
    model = abstract(encoders)
    cfg = model.cfg
    assert (model.clip is None) == (model.image_mm_projector is None) == (encoders == "video")
    assert (model.internvideo2 is None) == (model.mm_projector is None) == (encoders == "image")
    context = jnp.zeros((2, cfg.frames, 56, 56, 3)) if model.clip is not None else None
    frames = jnp.zeros((2, cfg.frames, 56, 56, 3)) if model.internvideo2 is not None else None
    rows = jax.eval_shape(lambda m, c, f: m.see_video(c, f), model, context, frames)
    assert rows.shape == (2, cfg.video_tokens, cfg.llm.width)


def test_an_image_needs_the_image_encoder():
    picture = jnp.zeros((1, 56, 56, 3))
    rows = jax.eval_shape(lambda m, x: m.see_image(x), abstract("both"), picture)
    assert rows.shape == (1, 16, 64)
    with pytest.raises(ValueError, match="needs the image encoder"):
        abstract("video").see_image(picture)


def test_visual_rows_stand_where_the_index_says():
    model = random_weights(abstract("both"), seed=0)
    ids, index = np.array([[5, 0, 0, 7]]), np.array([[-1, 1, 0, -1]])
    visual = jax.random.normal(jax.random.key(0), (1, 2, model.cfg.llm.width))
    out = model.read(ids, index, visual)
    np.testing.assert_array_equal(out[0, 1:3], visual[0, ::-1])
    np.testing.assert_array_equal(out[0, [0, 3]], model.llm.embed_tokens.embedding[...][jnp.array([5, 7])])
    np.testing.assert_array_equal(model.read(ids, index, None)[0, 0], out[0, 0])
