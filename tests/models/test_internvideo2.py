"""InternVideo2 against the original's own numbers and against a second statement of its block."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import erf

from vglamm_jax.config import InternVideo2Config
from vglamm_jax.convert.engine import leaves
from vglamm_jax.models import layers
from vglamm_jax.models.internvideo2 import Block, InternVideo2, resize_positions, sincos_positions

TINY = InternVideo2Config(image_size=28, patch_size=14, frames=4, width=48, depth=3, heads=4, mlp_width=96)
SIZE_1B = InternVideo2Config(image_size=224, patch_size=14, frames=4, width=1408, depth=40, heads=16, mlp_width=6144)
SIZE_6B = InternVideo2Config(image_size=224, patch_size=14, frames=4, width=3200, depth=48, heads=25, mlp_width=12800)


def relative(ours, theirs) -> float:
    return np.abs(np.asarray(ours) - np.asarray(theirs)).max() / np.abs(np.asarray(theirs)).max()


def randomised(module: nnx.Module) -> nnx.Module:
    """Every parameter normal, so that no scale or bias is a silent one or zero."""
    rng = np.random.default_rng(2)
    return jax.tree.map(lambda p: jnp.asarray(rng.normal(0.1, 0.3, p.shape), jnp.float32), module)


def block_in_float64(block: Block, x: np.ndarray, heads: int, eps: float) -> np.ndarray:
    """Facts 1.3, one token and one head at a time."""
    at = {path: np.asarray(p, np.float64) for path, p in leaves(block).items()}

    def rms(x, weight):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight

    normed = rms(x, at["norm1/scale"])
    q, k, v = np.split(normed @ at["attn/qkv/kernel"], 3, axis=-1)
    q, k = rms(q, at["attn/q_norm/scale"]), rms(k, at["attn/k_norm/scale"])
    size = x.shape[-1] // heads
    mixed = np.zeros_like(x)
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        scores = q[:, part] @ k[:, part].T / np.sqrt(size)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        mixed[:, part] = weights @ v[:, part] / weights.sum(-1, keepdims=True)
    x = x + at["ls1"] * (mixed @ at["attn/proj/kernel"] + at["attn/proj/bias"])
    hidden = rms(x, at["norm2/scale"]) @ at["mlp/fc1/kernel"] + at["mlp/fc1/bias"]
    hidden = hidden * 0.5 * (1 + erf(hidden / np.sqrt(2)))
    return x + at["ls2"] * (hidden @ at["mlp/fc2/kernel"] + at["mlp/fc2/bias"])


def test_block_equals_a_second_statement():
    block = randomised(Block(TINY, nnx.Rngs(0)))
    x = np.random.default_rng(3).standard_normal((2, 9, TINY.width)).astype(np.float32)
    ours = block(jnp.asarray(x))
    for n in range(2):
        expected = block_in_float64(block, x[n].astype(np.float64), TINY.heads, TINY.norm_eps)
        assert relative(ours[n], expected) < 1e-5


def test_equals_the_original(golden, golden_internvideo2):
    _, _, features = golden_internvideo2
    assert relative(features[:, ::8], np.load(golden / "outputs.npz")["internvideo2"]) < 1e-4


def test_list_of_blocks_equals_stack(golden_internvideo2):
    model, clips, features = golden_internvideo2
    blocks = layers.unstack_all(nnx.clone(model))
    assert relative(blocks(clips[:1]), features[:1]) < 1e-5


def test_clips_do_not_see_each_other():
    model = InternVideo2(TINY, nnx.Rngs(0))
    clips = np.random.default_rng(0).standard_normal((2, 4, 28, 28, 3)).astype(np.float32)
    np.testing.assert_allclose(model(clips)[1], model(clips[1:])[0], atol=1e-5)


def test_skipped_blocks_do_not_exist():
    assert layers.depth_of(InternVideo2(TINY, nnx.Rngs(0)).blocks) == TINY.depth - 1


@pytest.mark.parametrize(("cfg", "block"), [(SIZE_1B, 25_248_768), (SIZE_6B, 122_918_400)], ids=["1B", "6B"])
def test_published_sizes(cfg, block):
    """Parameters of a block: 1B from facts appendix A, 6B counted by hand."""
    model = layers.abstract(InternVideo2, cfg)
    assert sum(p.size for p in jax.tree.leaves(model.blocks)) == block * (cfg.depth - 1)
    clips = jax.ShapeDtypeStruct((2, 4, 224, 224, 3), jnp.bfloat16)
    assert jax.eval_shape(lambda model, x: model(x), model, clips).shape == (2, 1025, cfg.width)


def test_layer_scale_is_float32_in_half_precision():
    block = jax.tree.map(lambda p: p.astype(jnp.bfloat16), randomised(Block(TINY, nnx.Rngs(0))))
    x = jnp.ones((1, 3, TINY.width), jnp.bfloat16)
    program = str(jax.make_jaxpr(lambda block, x: block(x))(block, x))
    assert block(x).dtype == jnp.bfloat16
    assert f"f32[1,3,{TINY.width}] = mul" in program


def test_initial_positions():
    table = sincos_positions(1408, 4, 16)
    assert table.shape == (1, 1025, 1408)
    assert not table[0, 0].any()
    np.testing.assert_allclose(table[0, 1 + 256, :4], [0.841471, 0.812842, 0.783717, 0.754380], atol=1e-6)
    right, below = table[0, 2], table[0, 1 + 16]
    np.testing.assert_allclose(right[352 : 352 + 264], below[880 : 880 + 264], atol=1e-6)
    np.testing.assert_allclose(right[352], np.sin(1.0), atol=1e-6)


def test_impossible_width_is_named():
    with pytest.raises(ValueError, match="multiple of 16"):
        sincos_positions(40, 4, 2)


@pytest.mark.parametrize(("frames", "grid"), [(8, 3), (2, 3), (4, 5), (8, 2)])
def test_resized_positions_equal_torch(frames, grid):
    torch = pytest.importorskip("torch", reason="the reference is torch.nn.functional.interpolate")
    table = np.random.default_rng(0).standard_normal((1, 1 + 4 * 9, 16)).astype(np.float32)
    x = torch.tensor(table[:, 1:]).reshape(4, 9, 16).permute(1, 2, 0)
    x = torch.nn.functional.interpolate(x, size=frames, mode="linear", align_corners=False)
    x = x.permute(2, 1, 0).reshape(frames, 16, 3, 3)
    x = torch.nn.functional.interpolate(x, size=(grid, grid), mode="bicubic", align_corners=False)
    expected = x.permute(0, 2, 3, 1).reshape(1, -1, 16).numpy()
    ours = np.asarray(resize_positions(jnp.asarray(table), (4, frames), (3, grid)))
    np.testing.assert_array_equal(ours[:, 0], table[:, 0])
    np.testing.assert_allclose(ours[:, 1:], expected, atol=1e-5)


def test_wrong_clip_is_named():
    with pytest.raises(ValueError, match=r"takes clips \[N, 4, 28, 28, 3\], got \[1, 5, 28, 28, 3\]"):
        InternVideo2(TINY, nnx.Rngs(0))(np.zeros((1, 5, 28, 28, 3), np.float32))
