"""CLIP against transformers and against the original's own numbers."""

import jax
import numpy as np
import pytest
from flax import nnx

from vglamm_jax.config import ClipConfig
from vglamm_jax.models import layers
from vglamm_jax.models.clip import ClipVision, patches

TINY = ClipConfig(image_size=28, patch_size=14, width=32, depth=3, heads=2, mlp_width=64)
CASES = {
    "original": {},
    "gelu": {"activation": "gelu"},
    "other_sizes": {"image_size": 48, "patch_size": 8, "width": 48, "heads": 3},
    "last_layer": {"select_layer": -1},
    "counted_from_the_start": {"select_layer": 1},
}


def relative(ours, theirs) -> float:
    return np.abs(np.asarray(ours) - np.asarray(theirs)).max() / np.abs(np.asarray(theirs)).max()


def torch_clip(cfg: ClipConfig):
    torch = pytest.importorskip("torch", reason="the reference is a PyTorch model")
    from transformers import CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(0)
    sizes = CLIPVisionConfig(
        hidden_size=cfg.width,
        intermediate_size=cfg.mlp_width,
        num_hidden_layers=cfg.depth,
        num_attention_heads=cfg.heads,
        image_size=cfg.image_size,
        patch_size=cfg.patch_size,
        hidden_act=cfg.activation,
        initializer_factor=6.0,  # weights large enough for every nonlinearity to matter
    )
    return CLIPVisionModel(sizes).eval()


@pytest.mark.parametrize("name", CASES)
def test_equals_transformers(name):
    cfg = ClipConfig(**(vars(TINY) | CASES[name]))
    reference = torch_clip(cfg)
    import torch

    from vglamm_jax.bench.weights import load
    from vglamm_jax.convert import tables

    ours = load(ClipVision, cfg, tables.clip(cfg), reference.state_dict(), prefix="vision_model.")
    images = np.random.default_rng(1).standard_normal((3, cfg.image_size, cfg.image_size, 3)).astype(np.float32)
    with torch.inference_mode():
        states = reference(torch.tensor(images).permute(0, 3, 1, 2), output_hidden_states=True).hidden_states
    expected = states[cfg.select_layer][:, 1:].numpy()
    assert ours(images).shape == (3, cfg.grid**2, cfg.width)
    assert relative(ours(images), expected) < 1e-5
    assert relative(layers.unstack_all(ours)(images), expected) < 1e-5


def test_equals_the_original(golden):
    """Frames 0 and 5 of 6; the original repeats the last frame up to 16, so rows 0 and 5 to 15 are ours."""
    from vglamm_jax.convert import engine, sizes, tables
    from vglamm_jax.convert.torch_io import open_tensors

    cfg = sizes.clip_config(golden / "clip", select_layer=-2)
    part = engine.Part(tables.clip(cfg), open_tensors(golden / "clip"), extras=tables.clip_extras(cfg))
    model = engine.fill(layers.abstract(ClipVision, cfg), part)
    images = np.load(golden / "preprocessed.npz")["clip_336_f0f5"].transpose(0, 2, 3, 1)
    expected = np.load(golden / "outputs.npz")["clip"]
    ours = np.asarray(jax.jit(lambda model, x: model(x))(model, images))[:, ::6]
    assert relative(ours[0], expected[0]) < 1e-4
    for repeated in range(5, 16):
        assert relative(ours[1], expected[repeated]) < 1e-4


def test_skipped_blocks_do_not_exist():
    assert layers.depth_of(ClipVision(TINY, nnx.Rngs(0)).blocks) == TINY.depth - 1


def test_patches_are_row_major():
    image = np.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    rows = patches(jax.numpy.asarray(image), 2)
    assert rows.shape == (2, 6, 12)
    np.testing.assert_array_equal(rows[1, 4], image[1, 2:4, 2:4].reshape(-1))


def test_wrong_image_size_is_named():
    with pytest.raises(ValueError, match=r"takes images \[N, 28, 28, 3\], got \[1, 56, 28, 3\]"):
        ClipVision(TINY, nnx.Rngs(0))(np.zeros((1, 56, 28, 3), np.float32))
