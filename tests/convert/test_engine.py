"""Filling a model and taking it out again: bit-exact, in stacks and lists, with every misfit reported at once."""

import jax
import ml_dtypes
import numpy as np
import pytest
from flax import nnx
from jax.sharding import NamedSharding

from vglamm_jax import sharding
from vglamm_jax.config import ClipConfig
from vglamm_jax.convert import engine, tables
from vglamm_jax.convert.engine import Part
from vglamm_jax.convert.torch_io import CheckpointError, LazyTensor, open_tensors
from vglamm_jax.models import layers
from vglamm_jax.models.clip import ClipVision

CLIP = ClipConfig(image_size=28, patch_size=14, width=16, depth=3, heads=2, mlp_width=24)
GOLDEN_CLIP = ClipConfig(image_size=336, patch_size=14, width=32, depth=4, heads=2, mlp_width=64)


def make(cfg=CLIP):
    return layers.abstract(ClipVision, cfg)


def lazy(name, value):
    return LazyTensor(value.shape, value.dtype, lambda: value, name)


@pytest.fixture
def tensors():
    """A CLIP file with random values, its unused parts included."""
    rng = np.random.default_rng(0)
    shapes = engine.abstract_checkpoint(make(), tables.clip(CLIP), tables.clip_extras(CLIP))
    return {k: lazy(k, rng.normal(size=shape).astype(ml_dtypes.bfloat16)) for k, shape in shapes.items()}


def fill(tensors, module=None, **options):
    part = Part(tables.clip(CLIP), tensors, "clip.bin", tables.CLIP_IGNORED, tables.clip_extras(CLIP))
    return engine.fill(module or make(), part, **options)


def test_round_trip_is_bit_exact_and_keeps_the_order_of_the_table(tensors):
    extras = {name: tensors[name].read() for name in tables.clip_extras(CLIP)}
    back = dict(engine.to_torch(fill(tensors, dtype=ml_dtypes.bfloat16), tables.clip(CLIP), extras))
    assert set(back) == set(tensors)
    for name, value in back.items():
        assert value.dtype == tensors[name].dtype
        np.testing.assert_array_equal(value, tensors[name].read())


def test_golden_clip_round_trip(golden):
    tensors = open_tensors(golden / "clip")
    rows, extras = tables.clip(GOLDEN_CLIP), tables.clip_extras(GOLDEN_CLIP)
    model = engine.fill(make(GOLDEN_CLIP), Part(rows, tensors, "clip", tables.CLIP_IGNORED, extras))
    back = dict(engine.to_torch(model, rows))
    assert set(back) | set(extras) == set(tensors)
    for name, value in back.items():
        np.testing.assert_array_equal(value, tensors[name].read().astype(np.float32))


def test_lists_of_blocks_fill_like_stacks(tensors):
    stacked = fill(tensors)
    listed = make()
    listed.blocks = nnx.List([jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape[1:], p.dtype), listed.blocks)] * 2)
    listed = fill(tensors, listed)
    for n, block in enumerate(layers.unstack(stacked.blocks)):
        jax.tree.map(np.testing.assert_array_equal, jax.tree.leaves(block), jax.tree.leaves(listed.blocks[n]))
    assert (
        dict(engine.to_torch(listed, tables.clip(CLIP))).keys()
        == dict(engine.to_torch(stacked, tables.clip(CLIP))).keys()
    )


def test_progress_counts_every_byte_once(tensors):
    seen = []
    fill(tensors, progress=lambda done, total: seen.append((done, total)))
    sizes = [tensors[name].nbytes for name in tensors if name not in tables.clip_extras(CLIP)]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len(seen) == len(sizes) and seen[-1] == (sum(sizes), sum(sizes))


def test_values_go_where_the_shardings_say(tensors):
    mesh = sharding.make_mesh()
    placed = sharding.shardings(make(), mesh)
    model = fill(tensors, shardings=placed)
    for leaf, wanted in zip(jax.tree.leaves(model), jax.tree.leaves(placed)):
        assert isinstance(wanted, NamedSharding) and leaf.sharding.is_equivalent_to(wanted, leaf.ndim)
    jax.tree.map(np.testing.assert_array_equal, model, fill(tensors))


def test_every_misfit_is_reported_together(tensors):
    lost = "vision_model.encoder.layers.0.mlp.fc1.bias"
    tensors["vision_model.encoder.layers.0.mlp.fc_1.bias"] = tensors.pop(lost)
    wide = np.zeros((5, 16), np.float32)
    tensors["vision_model.encoder.layers.1.mlp.fc2.weight"] = lazy("x", wide)
    tensors["text_model.anything"] = lazy("x", wide)
    with pytest.raises(CheckpointError) as caught:
        fill(tensors)
    message = str(caught.value)
    assert message.startswith("clip.bin: does not fit this model")
    assert f"missing (1): {lost} (nearest there: vision_model.encoder.layers.0.mlp.fc_1.bias)" in message
    assert "unexpected (1): vision_model.encoder.layers.0.mlp.fc_1.bias" in message
    assert "fc2.weight is [5, 16], this model wants [16, 24]" in message
    assert "text_model" not in message


def test_missing_extras_are_no_misfit(tensors):
    for name in tables.clip_extras(CLIP):
        del tensors[name]
    assert fill(tensors).blocks.mlp.fc1.kernel.shape == (2, 16, 24)


def test_a_table_for_another_model_is_refused(tensors):
    rows = [row for row in tables.clip(CLIP) if not row.path.startswith("pre_layernorm")]
    with pytest.raises(CheckpointError, match=r"parameters without a row \(2\): pre_layernorm/bias"):
        engine.fill(make(), Part(rows, tensors))
