"""From a batch to its losses: rows of every kind side by side, and masks as inference draws them."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vglamm_jax.config import HieraConfig, LoraConfig, Sam2Config, load_config
from vglamm_jax.data.pack import Batch
from vglamm_jax.infer.demo import random_weights
from vglamm_jax.models import layers
from vglamm_jax.models.sam2.image_encoder import Features
from vglamm_jax.models.sam2.prompt_encoder import Prompts
from vglamm_jax.models.videoglamm import VideoGlamm
from vglamm_jax.train import forward, losses
from vglamm_jax.train.parity import Settings

LENGTH, SLOTS, FRAMES, SIDE = 80, 2, 3, 16
VIDEO, IMAGE, TEXT = range(3)
SAM2 = Sam2Config(
    image_size=64,
    hiera=HieraConfig(width=8, heads=1, stages=(1, 1, 1, 1), windows=(2, 2, 2, 2), global_blocks=()),
    width=32, memory_width=16, memory_attention_depth=1, memory_attention_mlp=32, memory_fuser_depth=1,
    decoder_depth=1, decoder_heads=2, decoder_mlp=32, iou_head_width=16, num_multimask=1, num_memories=3,
    num_pointers=3, memory_dtype="float32",
)  # fmt: skip
# Compiled for one run: what the compiler would gain by effort is less than the effort.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
quick = functools.partial(jax.jit, compiler_options=QUICK)


@pytest.fixture(scope="module")
def model():
    cfg = load_config("tiny")
    llm = dataclasses.replace(cfg.llm, lora=LoraConfig(rank=2, alpha=4, targets=("qkv_proj",), dropout=0.5))
    cfg = dataclasses.replace(cfg, llm=llm, sam2=SAM2, frames=4)
    return random_weights(layers.abstract(VideoGlamm, cfg), seed=0)


@pytest.fixture(scope="module")
def rows(model):
    """A video, an image and a text without either, as one batch."""
    rng, cfg = np.random.default_rng(0), model.cfg
    spread = {VIDEO: range(cfg.video_tokens), IMAGE: cfg.video_tokens + np.arange(cfg.image_tokens), TEXT: range(0)}
    visual = np.full((3, LENGTH), -1, np.int32)
    for row, index in spread.items():
        visual[row, 4 : 4 + len(index)] = index
    lengths = np.array([LENGTH, 40, 30], np.int32)
    at = np.arange(LENGTH)
    learnt = (at >= lengths[:, None] - 12) & (at < lengths[:, None])
    masks = rng.integers(0, 2, (3, SLOTS, FRAMES, SIDE, SIDE)).astype(np.int8)
    masks[IMAGE, 1], masks[TEXT] = -1, -1
    pixels = lambda *shape: rng.integers(0, 256, (3, *shape, 3)).astype(np.uint8)  # noqa: E731
    return Batch(
        ids=rng.integers(1, 500, (3, LENGTH)).astype(np.int32),
        visual=visual,
        labels=np.where(learnt, rng.integers(1, 500, (3, LENGTH)), -100).astype(np.int32),
        lengths=lengths,
        seg_positions=(lengths[:, None] - [6, 3]).astype(np.int32),
        seg_valid=masks[:, :, 0, 0, 0] >= 0,
        masks=masks,
        context=pixels(cfg.frames, 56, 56),
        clips=pixels(cfg.frames, 56, 56),
        sam=pixels(FRAMES, 64, 64),
        is_video=np.array([True, False, False]),
        draw=np.arange(3),
    )


@quick
def run(model, batch):
    return forward.forward(model, batch, Settings(protocol="default"))


def sums(model, batch):
    return {name: np.array(pair, np.float64) for name, pair in run(model, batch)[0].items()}


def take(batch, *index):
    return jax.tree.map(lambda x: x[list(index)], batch)


@pytest.fixture(scope="module")
def mixed(model, rows):
    return sums(model, rows)


def test_rows_do_not_see_each_other(model, rows, mixed):
    """What three equal rows sum to is three times what the row adds to a mixed batch."""
    alone = [sums(model, take(rows, row, row, row)) for row in (VIDEO, IMAGE, TEXT)]
    for name, pair in mixed.items():
        np.testing.assert_allclose(pair, sum(part[name] for part in alone) / 3, rtol=1e-5)
        assert alone[TEXT][name][0] > 0 if name == "ce" else alone[TEXT][name][1] == 0
    wanted = losses.weights(rows, Settings(protocol="default"))
    assert {name: pair[1] for name, pair in mixed.items()} == {name: float(w) for name, w in wanted.items()}


def test_padding_and_slots_not_in_use_mean_nothing(model, rows, mixed):
    rng = np.random.default_rng(1)
    padding = np.arange(LENGTH) >= rows.lengths[:, None]
    ids = np.where(padding, rng.integers(1, 500, rows.ids.shape), rows.ids).astype(np.int32)
    positions = np.where(rows.seg_valid, rows.seg_positions, 7).astype(np.int32)
    clips = rows.clips.copy()
    clips[1:] = 0
    other = sums(model, rows._replace(ids=ids, seg_positions=positions, clips=clips))
    for name, pair in mixed.items():
        np.testing.assert_allclose(other[name], pair, rtol=1e-6)


def test_the_visual_table(model, rows):
    """The rows `see_video` gives, then those `see_image` gives of the first frame."""

    @quick
    def both(model, rows):
        encoded = forward.encode(model, rows)
        context = forward.normalised(rows.context, "clip")
        video = model.see_video(context, forward.normalised(rows.clips, "internvideo2"))
        return forward.visual_table(model, encoded), jnp.concatenate([video, model.see_image(context[:, 0])], axis=1)

    ours, wanted = both(model, take(rows, 0, 1))
    assert ours.shape[1] == model.cfg.video_tokens + model.cfg.image_tokens
    np.testing.assert_allclose(ours, wanted, atol=1e-5)


def test_encoders_are_frozen(model, rows):
    def size(model):
        return sum(jnp.sum(x**2) for x in jax.tree.leaves(forward.encode(model, rows)))

    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(jax.jit(jax.grad(size))(model)))


def test_dropout_follows_the_key(model, rows, scene):
    cfg = model.cfg
    clip = jnp.ones((3, cfg.frames, cfg.clip.grid**2, cfg.clip.width))
    video = jnp.ones((3, cfg.clips, cfg.frames * cfg.internvideo2.grid**2, cfg.internvideo2.width))
    encoded = forward.Encoded(clip, video, scene[0])
    hidden = quick(lambda key: forward.read(model, rows, encoded, True, key))
    first, again, other = (hidden(jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


# Masks


@pytest.fixture(scope="module")
def scene():
    """Features of two rows of three frames, prompts, target masks; no image encoder is needed."""
    rng = np.random.default_rng(2)
    draw = lambda *shape: rng.normal(size=(2, *shape)).astype(np.float32)  # noqa: E731
    features = Features(draw(FRAMES, 4, 4, 32), (draw(FRAMES, 16, 16, 4), draw(FRAMES, 8, 8, 8)))
    return features, draw(SLOTS, 32), rng.integers(0, 2, (2, SLOTS, FRAMES, SIDE, SIDE)).astype(np.int8)


@quick
def drawn(sam2, scene):
    return forward.tracked(sam2, *scene[:2])


@jax.jit
def mask_loss(logits, target):
    return sum(value for value, _ in losses.mask_losses(logits, target).values())


def test_masks_are_those_of_inference(model, scene):
    """Row by row as inference follows objects: gated there, not here."""

    @quick
    def follow(sam2, features, text):
        first, bank = sam2.start(jax.tree.map(lambda x: x[:1], features), Prompts(text=text[:, None]))
        rest, _ = sam2.track(bank, jax.tree.map(lambda x: x[1:], features), 1)
        return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, rest)

    features, text, _ = scene
    rows = [(jax.tree.map(lambda x, row=row: x[row], features), text[row]) for row in range(len(text))]
    scores = np.stack([follow(model.sam2, *row).object_score for row in rows])
    sam2 = with_scores(model.sam2, -np.median(scores[:, 0]))  # some are there, some are not
    ours, open_gates = np.asarray(drawn(sam2, scene)), []
    for found, row in zip(ours, rows):
        theirs = follow(sam2, *row)
        there = np.asarray(theirs.object_score > 0)
        difference = np.abs(np.moveaxis(found, 1, 0) - theirs.logits).max((-2, -1))
        np.testing.assert_allclose(difference[there], 0, atol=1e-4)
        assert (difference[~there] > 500).all()
        open_gates.append(there)
    assert 0 < np.mean(open_gates) < 1


def with_scores(sam2, shift):
    """The same with other scores of objects being there."""
    sam2 = jax.tree.map(lambda x: x, sam2)
    last = sam2.sam_mask_decoder.pred_obj_score_head.layers[-1]
    last.bias = nnx.Param(last.bias[...] + shift)
    return sam2


@pytest.mark.slow
def test_gradients_reach_the_memory(model, scene):
    """By central differences along the gradient, for memory encoder and memory attention one at a time.

    Rounding memory to bfloat16, as is done by default, leaves gradients what they are; differences need float32.
    The objects are there and have one candidate each, so that no choice flips within the differences.
    """
    sam2, names = with_scores(model.sam2, 100), ("memory_encoder", "memory_attention")
    rounded = jax.tree.map(lambda x: x, sam2)
    rounded.cfg = dataclasses.replace(SAM2, memory_dtype="bfloat16")

    def with_parts(whole, parts):
        whole = jax.tree.map(lambda x: x, whole)
        for name, part in zip(names, parts):
            setattr(whole, name, part)
        return whole

    @quick
    @jax.grad
    def gradient(parts):
        return mask_loss(forward.tracked(with_parts(rounded, parts), *scene[:2]), scene[2])

    parts = jax.tree.map(np.asarray, tuple(getattr(sam2, name) for name in names))
    for name, part, slopes in zip(names, parts, jax.tree.map(np.asarray, gradient(parts))):
        size = np.sqrt(sum(np.vdot(x, x) for x in jax.tree.leaves(slopes)))

        def moved(by, name=name, part=part, slopes=slopes, size=size):
            step = jax.tree.map(lambda p, g: p + np.float32(by / size) * g, part, slopes)
            whole = with_parts(sam2, (step if other == name else getattr(sam2, other) for other in names))
            return float(mask_loss(drawn(whole, scene), scene[2]))

        slope = (moved(2e-3) - moved(-2e-3)) / 4e-3
        assert size > 0.1 and slope == pytest.approx(size, rel=0.03)
