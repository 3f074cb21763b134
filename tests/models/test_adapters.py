"""Projection, pooling and merging of visual features, against the original's rows."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vglamm_jax.config import ClipConfig, HieraConfig, InternVideo2Config, LlmConfig, Sam2Config, VideoGlammConfig
from vglamm_jax.models.adapters import Projector, SegProjector, pool_tokens, visual_tokens

# The published grids, counts and widths of visual features, with nothing else of the published size.
CFG = VideoGlammConfig(
    clip=ClipConfig(image_size=336, patch_size=14, width=32, depth=4, heads=2, mlp_width=64),
    internvideo2=InternVideo2Config(
        image_size=224, patch_size=14, frames=4, width=176, depth=3, heads=8, mlp_width=768
    ),
    llm=LlmConfig(vocab=64, width=8, depth=1, heads=1, kv_heads=1, head_dim=8, mlp_width=8, max_positions=64),
    sam2=Sam2Config(
        image_size=128, hiera=HieraConfig(width=8, heads=1, stages=(1, 1), windows=(8, 4), global_blocks=())
    ),
    seg_token_id=63,
    stop_ids=(2,),
)


def relative(ours, theirs) -> float:
    return np.abs(np.asarray(ours) - np.asarray(theirs)).max() / np.abs(np.asarray(theirs)).max()


def marked(frames: int, grid: int, start: float) -> np.ndarray:
    """[frames, grid * grid, 1]: every token holds start + 1000 * frame + its 2 x 2 square's row-major number."""
    square = np.arange(grid) // 2
    number = square[:, None] * (grid // 2) + square
    return (start + 1000 * np.arange(frames)[:, None, None] + number.reshape(1, -1, 1)).astype(np.float32)


def test_video_rows_are_context_images_first():
    image, video = marked(32, 24, 0), marked(32, 16, 500_000)
    rows = np.asarray(visual_tokens(jnp.asarray(image), jnp.asarray(video.reshape(8, 4 * 256, 1)), CFG, batch=2))
    assert rows.shape == (2, 3328, 1)
    assert CFG.video_tokens == 3328
    second = rows[1, :, 0]
    np.testing.assert_array_equal(second[:144], 16_000 + np.arange(144))
    np.testing.assert_array_equal(second[144 * 15 : 2304], 31_000 + np.arange(144))
    np.testing.assert_array_equal(second[2304 : 2304 + 64], 516_000 + np.arange(64))
    np.testing.assert_array_equal(second[-64:], 531_000 + np.arange(64))


@pytest.mark.parametrize(("encoders", "rows"), [("image", 2304), ("video", 1024)])
def test_one_encoder_alone(encoders, rows):
    cfg = dataclasses.replace(CFG, encoders=encoders)
    image = jnp.zeros((16, 576, 8)) if encoders == "image" else None
    video = jnp.ones((4, 1024, 8)) if encoders == "video" else None
    merged = visual_tokens(image, video, cfg, batch=1)
    assert merged.shape == (1, rows, 8) == (1, cfg.video_tokens, 8)


def test_image_rows_are_not_pooled():
    assert CFG.image_tokens == 576


@pytest.mark.parametrize(("grid", "pool"), [(24, 2), (16, 2), (9, 3)])
def test_pooling_equals_torch(grid, pool):
    torch = pytest.importorskip("torch", reason="the reference is torch's adaptive average pool")
    x = np.random.default_rng(0).standard_normal((3, grid * grid, 5)).astype(np.float32)
    pooled = torch.nn.functional.adaptive_avg_pool2d(
        torch.tensor(x).permute(0, 2, 1).reshape(3, 5, grid, grid), grid // pool
    )
    expected = pooled.flatten(2).permute(0, 2, 1).numpy()
    np.testing.assert_allclose(pool_tokens(jnp.asarray(x), grid, pool), expected, atol=1e-6)


def test_pool_must_divide_the_grid():
    with pytest.raises(ValueError, match="9 x 9 token grid cannot be pooled by 2"):
        pool_tokens(jnp.zeros((1, 81, 4)), 9, 2)


def filled(make, state, names):
    """A module of `fc1` and `fc2` with the weights of a two-layer torch Sequential."""
    module = make()
    for name, prefix in names.items():
        layer = getattr(module, name)
        layer.kernel[...] = jnp.asarray(state[f"{prefix}.weight"].float().numpy().T)
        layer.bias[...] = jnp.asarray(state[f"{prefix}.bias"].float().numpy())
    return module


@pytest.fixture(scope="module")
def checkpoint(golden):
    torch = pytest.importorskip("torch", reason="the original's weights are a PyTorch file")
    path = golden / "checkpoint" / "pytorch_model.bin"
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def test_image_projector_equals_the_original(golden, checkpoint):
    """The golden projections are every 16th row, the golden features every 6th token: rows in both."""
    names = {"fc1": "model.image_mm_projector.0", "fc2": "model.image_mm_projector.2"}
    projector = filled(lambda: Projector(32, 64, nnx.Rngs(0)), checkpoint, names)
    outputs = np.load(golden / "outputs.npz")
    features = outputs["clip"].reshape(-1, 32)  # row n is token 6 n
    rows = np.arange(0, 16 * 576, 48)  # multiples of both
    expected = outputs["image_projected"][rows // 16]
    assert relative(projector(features[rows // 6]), expected) < 1e-4


def test_video_projector_equals_the_original(golden, golden_internvideo2, checkpoint):
    names = {"fc1": "model.mm_projector.0", "fc2": "model.mm_projector.2"}
    projector = filled(lambda: Projector(176, 64, nnx.Rngs(0)), checkpoint, names)
    features = golden_internvideo2[2][:, 1:].reshape(-1, 176)
    assert relative(projector(features[::16]), np.load(golden / "outputs.npz")["video_projected"]) < 1e-4


def test_seg_projector_equals_the_original(golden, checkpoint):
    """The [SEG] prompts come from the states before each [SEG] of the last generation step."""
    names = {"fc1": "model.text_hidden_fcs.0.0", "fc2": "model.text_hidden_fcs.0.2"}
    projector = filled(lambda: SegProjector(64, 256, nnx.Rngs(0)), checkpoint, names)
    outputs = np.load(golden / "outputs.npz")
    before = np.flatnonzero(outputs["output_ids"][0, 1:] == 32011)
    added = outputs["inputs_embeds"].shape[1] - (outputs["output_ids"].shape[1] - 10)
    hidden = outputs["last_hidden"][0, before + added]
    assert relative(projector(hidden), outputs["seg_embeddings"]) < 1e-4
