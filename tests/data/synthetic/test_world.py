"""The same clip everywhere, at any size; masks that fit the pixels; combinations that only the test split has."""

import dataclasses
import hashlib
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

from vglamm_jax.data.synthetic.benchmark import described, make_clip
from vglamm_jax.data.synthetic.pixels import paint
from vglamm_jax.data.synthetic.silhouettes import layers
from vglamm_jax.data.synthetic.vocabulary import CLASS_OF, CLASSES, COLOURS, SHAPES, SPLITS, classes_for, held_out
from vglamm_jax.data.synthetic.world import Settings, draw_world, generator

ODD = Settings(height=75, width=130, frames=9, wording="both")
DIGEST = "edb55119e4502512b37447045685b4fc53a2f6871676975387170869e1b0cdf4"


def digest() -> str:
    """Of pixels, masks and texts of some clips."""
    out = hashlib.sha256()
    for settings in (Settings(), ODD):
        for split in SPLITS:
            for index in range(2):
                clip = make_clip(split, 3, index, settings, rendering=index % 2)
                out.update(clip.frames.tobytes() + np.packbits(clip.masks).tobytes())
                out.update(repr((clip.caption, clip.expressions, clip.moments)).encode())
    return out.hexdigest()


def test_the_bytes_are_the_published_ones():
    assert digest() == DIGEST, "the benchmark has changed: results on it no longer compare with earlier ones"


def test_the_bytes_do_not_depend_on_the_process_or_the_processor():
    """Without the newer vector instructions NumPy's sines differ in their last bits."""
    code = "import test_world; print(test_world.digest())"
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "123",
        "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_SKX",
        "PYTHONWARNINGS": "ignore",
    }
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=os.path.dirname(__file__), env=environment, capture_output=True, text=True
    )
    assert run.stdout.strip() == DIGEST, run.stderr


def test_seed_index_split_and_rendering_all_matter():
    clips = [make_clip(*key) for key in (("train", 0, 0), ("train", 0, 1), ("train", 1, 0), ("validation", 0, 0))]
    other_pixels = make_clip("train", 0, 0, rendering=1)
    frames = [clip.frames.tobytes() for clip in (*clips, other_pixels)]
    assert len(set(frames)) == len(frames)
    assert np.array_equal(clips[0].masks, other_pixels.masks)
    assert clips[0].expressions == other_pixels.expressions and clips[0].caption == other_pixels.caption


@pytest.mark.parametrize(
    "settings",
    [
        Settings(height=32, width=32, frames=4),
        Settings(height=64, width=160, frames=24),
        Settings(height=240, width=136, frames=7, things=(6, 6)),
    ],
    ids=lambda settings: f"{settings.height}x{settings.width}x{settings.frames}",
)
def test_any_size(settings):
    for index in range(4):
        clip = make_clip("train", 4, index, settings)
        assert clip.frames.shape == (settings.frames, *settings.size, 3) and clip.frames.dtype == np.uint8
        assert clip.masks.shape == (len(clip.scene.world.things), settings.frames, *settings.size)
        assert clip.masks.any((1, 2, 3)).all()
        assert clip.caption.phrases and clip.expressions


def test_the_same_scene_at_two_sizes_is_told_in_the_same_way():
    """Words follow from what happens, not from the grid of pixels."""
    same = 0
    for index in range(8):
        small, large = (
            described("train", 5, index, Settings(height=s, width=s, frames=f)) for s, f in ((64, 12), (160, 24))
        )
        assert [t.look for t in small.scene.world.things] == [t.look for t in large.scene.world.things]
        same += small.scene.does == large.scene.does
    assert same >= 7


def test_a_pixel_is_in_the_mask_of_the_thing_that_fills_half_of_it():
    """Painted in another colour, a thing changes every pixel of its mask, and none outside by more than a half."""
    compared = 0
    for index in range(6):
        world = draw_world("train", 6, index, Settings(noise=0, height=64, width=64))
        drawn = layers(world)
        masks = drawn.masks()
        assert (masks.sum(0) <= 1).all(), "a pixel belongs to one thing"
        before = paint(world, drawn, generator("train", 6, index, 2)).astype(int)
        for i, thing in enumerate(world.things):
            if world.pair and i in world.pair:
                continue  # the two share their shade
            colour = "blue" if thing.look.colour != "blue" else "yellow"
            other = dataclasses.replace(thing, look=dataclasses.replace(thing.look, colour=colour))
            things = [other if n == i else one for n, one in enumerate(world.things)]
            painted = dataclasses.replace(world, things=tuple(things))
            change = np.abs(paint(painted, drawn, generator("train", 6, index, 2)) - before)
            whole = 1.08 * np.abs(np.subtract(COLOURS[colour], COLOURS[thing.look.colour])) + 8
            assert change[masks[i]].any(-1).all()
            assert (change[~masks[i]] <= 0.5 * whole + 1).all()
            compared += 1
    assert compared > 5


def test_nearer_things_cover_farther_ones():
    covered = 0
    for index in range(25):
        drawn = layers(draw_world("train", 7, index))
        for far, near in itertools.combinations(range(len(drawn.silhouettes)), 2):
            for t in range(drawn.owner.shape[0]):
                place = drawn.silhouettes[near].window(t, drawn.owner.shape[1:])
                if place:
                    inside = drawn.silhouettes[near].depth[t][place[1]] >= 0
                    assert (drawn.owner[t][place[0]][inside] >= near).all()
            covered += (drawn.visible[far] < 0.7 * drawn.whole[far]).any()
    assert covered > 12


def test_boxes_enclose_masks():
    clip = make_clip("train", 8, 1)
    for mask, box in zip(clip.masks.reshape(-1, 96, 96), clip.boxes.reshape(-1, 4).astype(int)):
        x0, y0, x1, y1 = box
        assert mask[y0:y1, x0:x1].sum() == mask.sum()
        if mask.any():
            assert mask[y0].any() and mask[y1 - 1].any() and mask[:, x0].any() and mask[:, x1 - 1].any()
        else:
            assert not box.any()


def test_everything_of_the_list_occurs(all_told):
    things = [thing for one in all_told for thing in one.scene.world.things]
    assert {thing.look.colour for thing in things} == set(COLOURS)
    assert {thing.look.shape for thing in things} == set(SHAPES)
    assert {len(one.scene.world.things) for one in all_told} == {2, 3, 4, 5, 6}
    rare = set(CLASS_OF) - {thing.motion for thing in things}
    assert len(rare) <= 2, "each motion is one of a few hundred"
    shakes = [np.ptp(one.scene.world.camera, axis=0).max() for one in all_told]
    assert 0.4 < np.mean(np.array(shakes) > 0) < 0.95
    assert max(shakes) <= 2, "small: every motion is at least ten times as large"


def test_each_thing_does_what_it_was_made_to_do(all_told):
    """Made by one module, measured by another that does not know."""
    verdicts = [does[thing.motion] for one in all_told for thing, does in zip(one.scene.world.things, one.scene.does)]
    assert False not in verdicts
    assert np.mean([verdict is None for verdict in verdicts]) < 0.01


def test_test_things_are_unseen_combinations_and_no_others_are(told):
    for split, clips in told.items():
        for one in clips:
            for thing, does in zip(one.scene.world.things, one.scene.does):
                assert held_out(thing.look.colour, thing.look.shape, thing.motion) == (split == "test")
                measured = {CLASS_OF[motion] for motion, verdict in does.items() if verdict and motion != "move"}
                assert measured <= {CLASS_OF[thing.motion]}, "as seen, it is of that class, too"


def test_the_rule_keeps_single_words_and_pairs_of_words_in_training():
    for colour, shape in itertools.product(COLOURS, SHAPES):
        assert len(classes_for("train", colour, shape)) == 3
        assert len(classes_for("test", colour, shape)) == 1
    for name in CLASSES:
        assert all(any(name in classes_for("train", colour, shape) for shape in SHAPES) for colour in COLOURS)
        assert all(any(name in classes_for("train", colour, shape) for colour in COLOURS) for shape in SHAPES)
        assert all(any(name in classes_for("test", colour, shape) for shape in SHAPES) for colour in COLOURS)


@pytest.mark.parametrize(
    "change",
    [
        {"height": 16},
        {"frames": 3},
        {"things": (1, 3)},
        {"things": (4, 3)},
        {"wording": "loud"},
        {"fps": 0},
        {"shake": 0.2},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(change):
    with pytest.raises(ValueError):
        Settings(**change)


@pytest.mark.parametrize("key", [("dev", 0, 0), ("train", -1, 0), ("train", 0, -1)], ids=str)
def test_clips_that_are_not_there_are_refused(key):
    with pytest.raises(ValueError):
        make_clip(*key)
