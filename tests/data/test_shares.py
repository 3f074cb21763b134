"""Mixtures by name."""

import pytest
from tiny_examples import Pairs

from vglamm_jax.config import load_config
from vglamm_jax.data.frames import FrameRule
from vglamm_jax.data.shares import Share, parts
from vglamm_jax.data.sources.registry import SOURCES
from vglamm_jax.data.synthetic import MovingThings

LENGTHS = {"short": 1, "long": 3, "other": 7}


def opened(name: str, split: str) -> Pairs:
    return Pairs(f"{name} {split}", LENGTHS[name])


def test_data_sets_of_a_share_divide_its_weight():
    rule = FrameRule(count=4)
    mixture = [
        Share(names=("short", "long"), weight=2.0),
        Share(names=("short", "long"), by_length=True, frames=rule),
        Share(names=("other",), split="val"),
    ]
    found = parts(mixture, opened=opened)
    assert [part.weight for part in found] == [1.0, 1.0, 0.25, 0.75, 1.0]
    assert [part.frames for part in found] == [None, None, rule, rule, None]
    assert [part.source.name for part in found] == [
        "short train",
        "long train",
        "short train",
        "long train",
        "other val",
    ]


def test_the_originals_mixture_names_data_sets_there_are():
    mixture = load_config("data_videoglamm")
    names = [name for share in mixture for name in share.names]
    assert len(mixture) == 17 and len(set(names)) == len(names) == 30 and set(names) <= set(SOURCES)
    assert {share.weight for share in mixture} == {1.0}


def test_moving_things_needs_no_files(tmp_path):
    assert parts([Share(names=("moving_things",))])[0].source == MovingThings(split="train")
    with pytest.raises(FileNotFoundError, match="vglamm data build mevis"):
        parts([Share(names=("mevis",))], built=tmp_path)
    with pytest.raises(ValueError, match="no data set"):
        parts([Share(names=("nothing",))], built=tmp_path)
    with pytest.raises(ValueError, match="names no data set"):
        parts([Share(names=())])
