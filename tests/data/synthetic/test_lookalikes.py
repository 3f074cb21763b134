"""Look-alikes cannot be told apart in one frame: by construction, in pixels, and for a classifier that tries."""

import numpy as np

from vglamm_jax.data.synthetic.expressions import TELLING
from vglamm_jax.data.synthetic.paths import free_path
from vglamm_jax.data.synthetic.pixels import paint
from vglamm_jax.data.synthetic.scene import Scene
from vglamm_jax.data.synthetic.silhouettes import layers
from vglamm_jax.data.synthetic.world import Settings, draw_world, generator, with_swapped_pair

PAIRS_ONLY = Settings(things=(2, 2))
FRAMES = (0, 5, 15)


def pixels(world):
    return paint(world, layers(world), generator("train", 0, 0, 9))


def test_every_frame_is_also_a_frame_of_the_clip_with_the_motions_exchanged():
    """The same bytes; before and after, the other of the two does what the expression says."""
    compared = 0
    for index in range(24):
        world = draw_world(("train", "test")[index % 2], 21, index)
        if world.pair is None:
            continue
        frame = index % world.settings.frames
        swapped = with_swapped_pair(world, frame)
        ours, theirs = pixels(world), pixels(swapped)
        assert np.array_equal(ours[frame], theirs[frame])
        assert not np.array_equal(ours, theirs)
        first, second = world.pair
        assert swapped.things[first].motion == world.things[second].motion != world.things[first].motion
        does = Scene(swapped, layers(swapped)).does
        assert all(does[i][swapped.things[i].motion] for i in world.pair)
        compared += 1
    assert compared > 15


def test_the_exchanged_clip_stays_in_the_same_lanes():
    """So it is as likely as the original: starting states are uniform over lanes that both share."""
    u = np.linspace(0, 1, 50)
    for index in range(100):
        world = draw_world("train", 22, index, PAIRS_ONLY)
        if world.twins is None:
            continue
        swapped = world.twins.swapped(0.4)
        assert np.array_equal(swapped.lanes(), world.twins.lanes())
        (x0, y0, x1, y1), other = world.twins.lanes()
        assert np.allclose(other[2:] - other[:2], (x1 - x0, y1 - y0)), "lanes are congruent"
        a, b = (path.centre(u) for path in swapped.paths())
        assert np.sqrt(((a - b) ** 2).sum(1)).min() > 2 * world.twins.radius, "the two never touch"


def test_look_alikes_have_equal_colours_and_areas():
    compared = 0
    for index in range(24):
        world = draw_world("train", 23, index, Settings(things=(2, 2), noise=0))
        if world.pair is None:
            continue
        drawn = layers(world)
        frames, masks = pixels(world), drawn.masks()
        inside = drawn.visible == drawn.whole
        if not inside.any(1).all():
            continue
        shown = [[frames[t][masks[i, t]] for t in np.flatnonzero(inside[i])] for i in world.pair]
        areas = [np.mean([len(frame) for frame in frames]) for frames in shown]
        colours = [np.concatenate(frames).mean(0) for frames in shown]
        assert abs(areas[0] - areas[1]) < 0.04 * max(areas)
        assert np.abs(colours[0] - colours[1]).max() < 8
        assert world.things[world.pair[0]].look == world.things[world.pair[1]].look
        compared += 1
    assert compared > 10


def accuracy(features: np.ndarray, words: list[str], labels: np.ndarray) -> float:
    """Of a classifier with a weight for each word and feature, fitted on one half and asked about the other."""
    known = sorted(set(words))
    one_hot = np.array([[word == name for name in known] for word in words], float)
    x = (one_hot[:, :, None] * np.c_[np.ones(len(features)), features][:, None, :]).reshape(len(words), -1)
    half = len(x) // 2
    gram = x[:half].T @ x[:half] + 1.0 * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, x[:half].T @ labels[:half])
    return float(((x[half:] @ weights > 0) == (labels[half:] > 0)).mean())


def polynomial(places: np.ndarray) -> np.ndarray:
    """Two places [N, 4] in sides of the frame -> themselves, squares and products."""
    centred = places - 0.5
    pairs = [centred[:, i] * centred[:, j] for i in range(4) for j in range(i, 4)]
    return np.c_[centred, np.stack(pairs, axis=-1)]


def drawn_at_random(centres_of_referent, centres_of_other, rng):
    """The two in a random order, and whether the first is the referent."""
    first = rng.random(len(centres_of_referent)) < 0.5
    pair = np.where(
        first[:, None, None],
        np.stack([centres_of_referent, centres_of_other], 1),
        np.stack([centres_of_other, centres_of_referent], 1),
    )
    return pair.reshape(len(pair), 4), np.where(first, 1.0, -1.0)


def test_a_classifier_of_one_frame_is_at_chance_and_of_two_is_not():
    rng = np.random.default_rng(0)
    worlds = [draw_world(("train", "test")[i % 2], 24, i, PAIRS_ONLY) for i in range(2400)]
    worlds = [world for world in worlds if world.twins is not None]
    words = [world.twins.members[0].motion for world in worlds]
    tracks = np.array([[path.centre(world.times) for path in world.twins.paths()] for world in worlds]) / 96
    chance = 3.5 * 0.5 / np.sqrt(len(worlds) / 2)
    for frame in FRAMES:
        places, labels = drawn_at_random(tracks[:, 0, frame], tracks[:, 1, frame], rng)
        assert abs(accuracy(polynomial(places), words, labels) - 0.5) < chance, f"frame {frame} tells"
    order = rng.random(len(worlds)) < 0.5
    ordered = np.where(order[:, None, None, None], tracks, tracks[:, ::-1])
    steps = (ordered[:, :, 8] - ordered[:, :, 7]).reshape(len(worlds), 4) * 20
    moves = np.c_[steps, np.abs(steps)]
    assert accuracy(moves, words, np.where(order, 1.0, -1.0)) > 0.75, "motion must tell"


def test_the_classifier_would_notice_motions_that_stay_inside_the_frame():
    """The obvious construction fails: what is to move right starts on the left."""
    rng, words, tracks = np.random.default_rng(1), [], []
    for i in range(800):
        words.append(("right", "left")[i % 2])
        paths = [free_path(motion, 9, 0, (96, 96), rng) for motion in (("right", "left"), ("left", "right"))[i % 2]]
        tracks.append([path.centre(np.array([0.0]))[0] for path in paths])
    tracks = np.array(tracks) / 96
    places, labels = drawn_at_random(tracks[:, 0], tracks[:, 1], rng)
    assert accuracy(polynomial(places), words, labels) > 0.8


def sayable(does, meant: int, other: int) -> list[str]:
    """Motion words that pick one of two look-alikes."""
    return [word for word in TELLING if does[meant][word] and does[other][word] is False]


def test_the_words_do_not_depend_on_where_the_look_alikes_are(all_told):
    """What may be said of them follows from their motions alone: in the exchanged clip it is the same."""
    compared = 0
    for one in all_told[::4]:
        world = one.scene.world
        if world.pair is None:
            continue
        swapped = with_swapped_pair(world, 6)
        does = Scene(swapped, layers(swapped)).does
        for ours, theirs in (world.pair, world.pair[::-1]):
            assert sayable(one.scene.does, ours, theirs) == sayable(does, theirs, ours)
            compared += 1
    assert compared > 40
