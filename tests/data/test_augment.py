"""One change for all frames and masks of a clip, before normalising, and only what its text allows."""

import dataclasses

import numpy as np
import pytest

from vglamm_jax.data.augment import AugmentConfig, Plan, apply, apply_to_masks, choose, colour_matrix
from vglamm_jax.data.conversation import Exchange

SIZE = (40, 60)
OFF = AugmentConfig(scale=1.0, flip=0.0, reverse=0.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
NO_MASKS = np.zeros((0, 1, *SIZE), bool)
FRAMES = list(np.random.default_rng(0).integers(0, 256, (3, *SIZE, 3), dtype=np.uint8))


def say(text: str, answer: str = "Sure, [SEG].") -> list[Exchange]:
    return [Exchange(text, answer, (("a",),))]


def plans(said, masks=NO_MASKS, count=40, **changes):
    cfg = dataclasses.replace(OFF, **changes)
    return [choose(said, masks, cfg, np.random.default_rng(seed)) for seed in range(count)]


def test_nothing_changes_nothing():
    for said, plan in plans(say("Segment the left dog."), count=3):
        assert said == tuple(say("Segment the left dog.")) and plan == Plan()
    assert all(np.array_equal(a, b) for a, b in zip(apply(Plan(), FRAMES), FRAMES))
    masks = np.random.default_rng(0).random((2, 3, *SIZE)) > 0.5
    np.testing.assert_array_equal(apply_to_masks(Plan(), masks, SIZE), masks)


def test_a_clip_is_cut_and_mirrored_as_a_whole_with_its_masks():
    """A mask drawn into the pixels stays where the mask is."""
    masks = np.zeros((1, 3, *SIZE), bool)
    for t in range(3):
        masks[0, t, 10 + t : 30, 15 : 40 + t] = True
    frames = [np.repeat(np.where(mask, 255, 0).astype(np.uint8)[..., None], 3, -1) for mask in masks[0]]
    seen = set()
    for _, plan in plans(say("Where is it?"), masks, flip=0.5, scale=1.5):
        cut = apply(plan, frames)
        assert len({frame.shape for frame in cut}) == 1
        expected = np.stack(cut)[..., 0] > 127
        np.testing.assert_array_equal(apply_to_masks(plan, masks, cut[0].shape[:2])[0], expected)
        seen.add((plan.flip, cut[0].shape[0] < SIZE[0]))
    assert seen == {(True, True), (False, True)}


def test_masks_take_the_size_of_the_batch():
    masks = np.zeros((1, 1, *SIZE), bool)
    masks[..., 20:, :30] = True
    out = apply_to_masks(Plan(), masks, (16, 16))
    assert out.shape == (1, 1, 16, 16) and out[0, 0, 8:, :8].all() and out.sum() == 64
    mirrored = apply_to_masks(Plan(flip=True), masks, (16, 16))
    np.testing.assert_array_equal(mirrored, out[..., ::-1])
    assert apply_to_masks(Plan(), NO_MASKS, (16, 16)).shape == (0, 1, 16, 16)


def test_objects_are_not_cut_away():
    corner = np.zeros((1, 1, *SIZE), bool)
    corner[..., :4, :4] = True
    for _, plan in plans(say("Where is it?"), corner, scale=2.0):
        top, left = round(plan.cut[0] * SIZE[0]), round(plan.cut[1] * SIZE[1])
        assert corner[0, 0, top:, left:].sum() >= 0.5 * corner.sum()


@pytest.mark.parametrize(
    ("text", "flipped"),
    [
        ("Segment the dog.", "Segment the dog."),
        ("Segment the left dog.", "Segment the right dog."),
        ("Who left the room?", None),
    ],
)
def test_mirroring_follows_the_wording(text, flipped):
    for said, plan in plans(say(text), flip=1.0, count=3):
        assert plan.flip == (flipped is not None)
        assert said[0].question == (flipped or text)


def test_playing_backwards_follows_the_wording():
    assert all(plan.reverse for _, plan in plans(say("Segment the brown dog."), reverse=1.0))
    assert not any(plan.reverse for _, plan in plans(say("Segment the walking dog."), reverse=1.0))
    timed = [dataclasses.replace(say("The brown dog?")[0], time_span=(0.0, 1.0))]
    assert not any(plan.reverse for _, plan in plans(timed, reverse=1.0))
    masks, cfg = np.zeros((0, 1, *SIZE), bool), dataclasses.replace(OFF, reverse=1.0)
    assert not choose(say("The brown dog?"), masks, cfg, np.random.default_rng(0), moving=False)[1].reverse


def test_named_colours_keep_their_hue():
    assert any(plan.colour[3] for _, plan in plans(say("Segment the dog."), hue=0.1))
    assert not any(plan.colour[3] for _, plan in plans(say("Segment the red car."), hue=0.1))
    assert not any(plan.colour[3] for _, plan in plans(say("What?", "A <p> blue cup </p> [SEG]."), hue=0.1))


def test_colours_of_all_frames_change_alike():
    plan = Plan(colour=(0.8, 1.3, 0.6, 0.05))
    grey = np.mean([frame[::8, ::8].mean((0, 1)) @ [0.299, 0.587, 0.114] for frame in FRAMES])
    matrix = colour_matrix(plan.colour, grey)
    for before, after in zip(FRAMES, apply(plan, FRAMES)):
        exact = np.clip(before @ matrix[:, :3].T + matrix[:, 3], 0, 255)
        assert after.dtype == np.uint8 and np.abs(after - exact).max() < 0.75  # OpenCV counts in fixed point


def test_each_colour_change_does_what_its_name_says():
    pixel = np.array([200.0, 100.0, 50.0])
    luma = pixel @ [0.299, 0.587, 0.114]

    def change(*colour, grey=90.0):
        matrix = colour_matrix(colour, grey)
        return matrix[:, :3] @ pixel + matrix[:, 3]

    np.testing.assert_allclose(change(1, 1, 1, 0), pixel, atol=1e-9)
    np.testing.assert_allclose(change(0.5, 1, 1, 0), pixel / 2)
    np.testing.assert_allclose(change(1, 2, 1, 0), 2 * pixel - 90)
    np.testing.assert_allclose(change(1, 1, 0, 0), [luma] * 3)
    np.testing.assert_allclose(change(1, 1, 1, 1.0), pixel, atol=1e-9)
    turned = change(1, 1, 1, 0.5)
    np.testing.assert_allclose(turned @ [0.299, 0.587, 0.114], luma, rtol=1e-3)
    np.testing.assert_allclose(turned - luma, luma - pixel, atol=0.5)
