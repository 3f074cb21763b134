"""What sources tell the pipeline in `meta`: odds of turns, pixels and frames that are left out, names of rules."""

import dataclasses

import cv2
import numpy as np
import pytest
from tiny_examples import NAMES, example, segment_turn

from vglamm_jax.config import load_config
from vglamm_jax.data import hints
from vglamm_jax.data.augment import AugmentConfig
from vglamm_jax.data.conversation import ConversationRule, exchanges, objects_of
from vglamm_jax.data.frames import ORIGINAL, FrameRule, rule_for
from vglamm_jax.data.masks import encode
from vglamm_jax.data.mixture import Draw, InMemory, Part
from vglamm_jax.data.pack import PackConfig
from vglamm_jax.data.pipeline import DataConfig, Prepare, for_evaluation
from vglamm_jax.data.schema import BadRecord, from_dict, to_dict
from vglamm_jax.data.tokenizer import load_tokenizer, tiny_tokenizer

DATA = DataConfig(pack=PackConfig(lengths=(320,), frames=2, mask_size=64), strict=True)
THREE = tuple(segment_turn(name) for name in NAMES)


@pytest.fixture(scope="module")
def row_of(tmp_path_factory):
    cfg, tokenizer = load_config("tiny"), load_tokenizer(tiny_tokenizer(tmp_path_factory.mktemp("tokenizer")))

    def row_of(made, frames, data=DATA, number=0):
        encoded = tuple(cv2.imencode(".png", frame[..., ::-1])[1].tobytes() for frame in frames)
        made = dataclasses.replace(made, media=dataclasses.replace(made.media, encoded=encoded))
        part = Part(InMemory("own", [made]), frames=FrameRule(supervised="even"))
        return Prepare([part], cfg, data, tokenizer)(Draw(number, 0, 0)).arrays

    return row_of


def rle_of(mask: np.ndarray) -> dict:
    return dataclasses.asdict(encode(mask))


def test_turns_are_drawn_by_their_odds():
    made, _ = example(turns=THREE, independent=True, meta={"weights": [0.45, 0.45, 0.1]})
    rng, one = np.random.default_rng(0), ConversationRule(wording="as_written")
    drawn = [objects_of(exchanges(made, rng, one))[0][0] for _ in range(4000)]
    np.testing.assert_allclose([drawn.count(name) / 4000 for name in NAMES], [0.45, 0.45, 0.1], atol=0.03)
    never = dataclasses.replace(made, meta={"weights": [0, 2, 1]})
    pairs = [objects_of(exchanges(never, rng, dataclasses.replace(one, max_turns=3))) for _ in range(300)]
    assert {frozenset(pair) for pair in pairs} == {frozenset([(NAMES[1],), (NAMES[2],)])}
    assert np.mean([pair[0] == (NAMES[1],) for pair in pairs]) == pytest.approx(2 / 3, abs=0.1)


def test_ignored_pixels_move_with_the_picture(row_of):
    """A picture that is white where it is ignored: -1 and white stay together, cut and mirrored."""
    made, frames = example(count=1, turns=(segment_turn(NAMES[0], "image"),))
    ignored = np.zeros(made.media.size, bool)
    ignored[8:30, 10:25] = True
    frames = np.where(ignored[..., None], 255, 0).astype(np.uint8) * np.ones_like(frames)
    made = dataclasses.replace(made, meta={"ignore": rle_of(ignored)})
    still = AugmentConfig(scale=1.6, reverse=0.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
    placed = set()
    for number in range(6):
        row = row_of(made, frames, dataclasses.replace(DATA, augment=still), number)
        white = row.sam[0, ..., 0] > 127
        expected = cv2.resize(white.astype(np.uint8), (64, 64), interpolation=cv2.INTER_NEAREST_EXACT) > 0
        assert ((row.masks[0, 0] == -1) == expected).mean() > 0.98 and (row.masks[0, 0] == 1).any()
        assert (row.masks[1:] == -1).all()
        placed.add(expected.tobytes())
    assert len(placed) > 2


def test_nothing_of_ignored_windows_is_seen(row_of):
    """Each frame is as bright as its number; those of the answer stay."""
    turn = dataclasses.replace(segment_turn(NAMES[0]), time_span=(1.0, 1.5))
    made, frames = example(count=8, turns=(turn,), meta={"ignored_windows": [[0.0, 0.5], [1.25, 9.0]]})
    frames = np.arange(8, dtype=np.uint8)[:, None, None, None] * 20 * np.ones_like(frames)
    row = row_of(made, frames, for_evaluation(DATA))
    assert sorted(set(row.clips[:, 0, 0, 0].tolist())) == [40, 60, 80, 100]  # at 4 frames a second: 0.5 to 1.5 s
    assert set(row.sam[:, 0, 0, 0].tolist()) == {40, 100}
    everything = dataclasses.replace(made, turns=(segment_turn(NAMES[0]),), meta={"ignored_windows": [[0, 9]]})
    with pytest.raises(BadRecord, match=r"every frame lies in meta\.ignored_windows"):
        row_of(everything, frames)


@pytest.mark.parametrize(
    ("meta", "complaint"),
    [
        ({"weights": [1, 1]}, "meta.weights: has 2 numbers for 3 turns"),
        ({"weights": [1, -1, 1]}, "meta.weights: is [1, -1, 1]"),
        ({"weights": [0, 0, 0]}, "meta.weights: is [0, 0, 0]"),
        ({"weights": [1, float("nan"), 1]}, "meta.weights: is [1, nan, 1]"),
        ({"weights": {"a": 1}}, "meta.weights: is {'a': 1}"),
        ({"ignore": {"size": [2, 2], "counts": "04"}}, "meta.ignore: is {'size': [2, 2]"),
        ({"ignore": {"size": 5}}, "meta.ignore: is {'size': 5}"),
        ({"ignore": {"size": [48, 64], "counts": "04"}}, "meta.ignore: damaged run lengths"),
        ({"ignored_windows": [[2, 1]]}, "meta.ignored_windows: is [[2, 1]]"),
        ({"ignored_windows": 3}, "meta.ignored_windows: is 3"),
        ({"frames_rule": "fastest"}, "meta.frames_rule: is 'fastest'; write one of around, even, second"),
    ],
)
def test_what_makes_no_sense_is_a_bad_record(row_of, meta, complaint):
    made, frames = example(turns=THREE, independent=True, meta=meta)
    assert [str(problem).startswith(complaint) for problem in hints.problems(made)] == [True]
    with pytest.raises(BadRecord) as raised:
        row_of(made, frames)
    assert complaint in raised.value.reason


def test_odds_need_turns_that_stand_alone():
    (problem,) = hints.problems(example(turns=THREE, meta={"weights": [1, 1, 1]})[0])
    assert str(problem).startswith("meta.weights: is there, but all turns are used")


def test_hints_survive_the_schema():
    meta = {"weights": [1, 0, 2], "ignore": rle_of(np.eye(48, 64) > 0), "ignored_windows": [[0.0, 1.0]]}
    made = from_dict(to_dict(example(turns=THREE, independent=True, meta=meta)[0]))
    assert not list(hints.problems(made)) and hints.weights(made).tolist() == [1, 0, 2]
    np.testing.assert_array_equal(hints.ignored_pixels(made), np.eye(48, 64) > 0)
    assert hints.weights(example()[0]) is hints.ignored_pixels(example()[0]) is None


def test_an_unknown_rule_is_not_the_default():
    with pytest.raises(BadRecord, match=r"meta\.frames_rule is 'fastest': write one of around"):
        rule_for(example(meta={"frames_rule": "fastest"})[0], None)
    assert rule_for(example(meta={"frames_rule": "ten"})[0], None) == ORIGINAL["ten"]
