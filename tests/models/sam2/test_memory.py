"""What a frame sees of the memory bank, and that batching, chunking and gradients leave it what it is."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sam2_reference import DIVIDED, make_config, random_model

from vglamm_jax.models.sam2 import memory
from vglamm_jax.models.sam2.prompt_encoder import Prompts

CFG = make_config(DIVIDED, 64, newer=True, memory_attention_depth=1, num_memories=4, num_pointers=6)
FRAMES = 6

encode = jax.jit(lambda m, x: m.encode(x))
start = jax.jit(lambda m, f, text: m.start(f, Prompts(text=text[:, None])))
track = jax.jit(lambda m, b, f, first: m.track(b, f, first))


@pytest.fixture(scope="module")
def model():
    return random_model(CFG)


@pytest.fixture(scope="module")
def features(model, frames):
    return encode(model, frames(FRAMES, CFG.image_size))


@pytest.fixture(scope="module")
def text():
    return np.random.default_rng(0).normal(0, 1, (2, CFG.width)).astype(np.float32)


def at(features, *index):
    return jax.tree.map(lambda x: x[slice(*index)], features)


@functools.cache
def bank_before(frame: int, published: bool = True) -> memory.MemoryBank:
    """A bank after frames 0 (prompted) to frame - 1 of the published memory, without content."""
    cfg = dataclasses.replace(CFG, num_memories=7, num_pointers=16) if published else CFG
    bank = memory.empty(cfg, 1)
    cells, pointer = jnp.zeros((1, cfg.grid**2, cfg.memory_width)), jnp.zeros((1, cfg.width))
    bank = bank.condition(0, 0, cells, pointer)
    write = jax.jit(lambda bank, f: bank.write(f, cells, pointer))
    for past in range(1, frame):
        bank = write(bank, past)
    return bank


def test_frame_9_sees_the_published_rows():
    seen = memory.describe(bank_before(9), 9)
    assert seen["maps"] == [(0, 6), (3, 5), (4, 4), (5, 3), (6, 2), (7, 1), (8, 0)]
    assert seen["pointers"] == [0, 8, 7, 6, 5, 4, 3, 2, 1]


def test_frame_20_sees_the_published_rows():
    seen = memory.describe(bank_before(20), 20)
    assert seen["maps"] == [(0, 6), (14, 5), (15, 4), (16, 3), (17, 2), (18, 1), (19, 0)]
    assert seen["pointers"] == [0, *range(19, 4, -1)]


@pytest.mark.parametrize(("frame", "count"), [(1, 1), (2, 2), (3, 3)])
def test_keys_of_the_first_frames(model, frame, count):
    keys = model._memory_keys(bank_before(frame, published=False), frame, reverse=False)
    cells, split = CFG.grid**2, CFG.width // CFG.memory_width
    assert keys.valid.sum() == count * (cells + split)
    assert keys.pointers == CFG.num_pointers * split
    assert keys.valid[0, -keys.pointers :].sum() == count * split


def test_tracking_backwards_mirrors_tracking_forwards():
    bank = memory.empty(CFG, 1)
    cells, pointer = jnp.zeros((1, CFG.grid**2, CFG.memory_width)), jnp.zeros((1, CFG.width))
    bank = bank.condition(0, 9, cells, pointer)
    for past in (8, 7, 6, 5):
        bank = bank.write(past, cells, pointer)
    seen = memory.describe(bank, 4, reverse=True)
    assert seen["maps"] == [(9, 3), (5, 0), (6, 1), (7, 2)]
    assert seen["pointers"] == [9, 5, 6, 7, 8]
    assert memory.describe(bank, 4)["pointers"] == []  # all of it lies ahead


def test_what_is_not_seen_has_no_influence(model, features, text):
    _, bank = start(model, at(features, 0, 1), text)
    want, _ = track(model, bank, at(features, 1, 2), 1)
    rubbish = dataclasses.replace(bank, maps=jnp.full_like(bank.maps, 1e4), pointers=jnp.full_like(bank.pointers, -1e4))
    got, _ = track(model, rubbish, at(features, 1, 2), 1)
    np.testing.assert_array_equal(got.logits, want.logits)


def test_what_is_seen_has_influence(model, features, text):
    _, bank = start(model, at(features, 0, 1), text)
    want, _ = track(model, bank, at(features, 1, 2), 1)
    for name in ("cond_maps", "cond_pointers"):
        got, _ = track(model, dataclasses.replace(bank, **{name: 1 + getattr(bank, name)}), at(features, 1, 2), 1)
        assert np.abs(got.logits - want.logits).max() > 1e-3, name


def test_objects_do_not_see_each_other(model, features, text):
    both, bank = start(model, at(features, 0, 1), text)
    rest, _ = track(model, bank, at(features, 1, 4), 1)
    for k in range(2):
        alone, bank = start(model, at(features, 0, 1), text[k : k + 1])
        np.testing.assert_allclose(both.logits[k], alone.logits[0], atol=1e-3)
        more, _ = track(model, bank, at(features, 1, 4), 1)
        np.testing.assert_allclose(rest.logits[:, k], more.logits[:, 0], atol=2e-2)


def test_chunks_and_images_are_the_same_as_the_whole(model, features, frames, text):
    _, bank = start(model, at(features, 0, 1), text)
    whole, after = track(model, bank, at(features, 1, FRAMES), 1)
    images = frames(FRAMES, CFG.image_size)
    head, middle = track(model, bank, at(features, 1, 3), 1)
    tail, end = track(model, middle, images[3:], 3)
    np.testing.assert_allclose(np.concatenate([head.logits, tail.logits]), whole.logits, atol=2e-2)
    np.testing.assert_array_equal(end.map_frames, after.map_frames)
    assert jax.tree.map(jnp.shape, end) == jax.tree.map(jnp.shape, bank)


def test_objects_that_start_later_join_the_bank(model, features, text):
    _, early = start(model, at(features, 0, 1), text[:1])
    _, early = track(model, early, at(features, 1, 3), 1)
    _, late = jax.jit(lambda m, f, t: m.start(f, Prompts(text=t[:, None]), frame=2))(
        model, at(features, 2, 3), text[1:]
    )
    joined = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), early, late)
    together, _ = track(model, joined, at(features, 3, 4), 3)
    for k, bank in enumerate((early, late)):
        alone, _ = track(model, bank, at(features, 3, 4), 3)
        np.testing.assert_allclose(together.logits[:, k], alone.logits[:, 0], atol=2e-2)


def test_a_second_prompted_frame_is_remembered(model, features, text):
    begin = jax.jit(lambda m, f, text: m.start(f, Prompts(text=text[:, None]), slots=2))
    _, bank = begin(model, at(features, 0, 1), text)
    before, _ = track(model, bank, at(features, 4, 5), 4)
    condition = jax.jit(lambda m, f, text: m.condition(f, Prompts(text=text[:, None])))
    _, maps, pointers = condition(model, at(features, 3, 4), text[::-1])
    bank = bank.condition(1, 3, maps, pointers)
    assert memory.describe(bank, 4)["maps"] == [(0, 3), (3, 3)]
    after, _ = track(model, bank, at(features, 4, 5), 4)
    assert np.abs(after.logits - before.logits).max() > 1e-3


def test_gradients_pass_through_memory(model, features, text):
    """d loss(frame 1) / d prompt of frame 0, against differences of the loss."""
    exact = dataclasses.replace(CFG, memory_dtype="float32")
    smooth = random_model(exact)

    @jax.jit
    @jax.value_and_grad
    def loss(text):
        _, bank = smooth.start(at(features, 0, 1), Prompts(text=text[:, None]))
        out, _ = smooth.track(bank, at(features, 1, 2), 1, remat=True)
        return jnp.mean(jnp.tanh(out.logits / 10)) + jnp.mean(out.iou)

    _, gradient = loss(text)
    direction = np.random.default_rng(1).normal(0, 1, text.shape).astype(np.float32)
    step = 1e-2
    slope = (loss(text + step * direction)[0] - loss(text - step * direction)[0]) / (2 * step)
    expected = float((gradient * direction).sum())
    assert abs(expected) > 1e-6
    assert abs(slope - expected) < 0.05 * abs(expected) + 1e-5
