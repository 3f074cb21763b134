"""Worlds and texts of many clips, made once; pixels only where a test asks for them."""

import pytest

from vglamm_jax.data.synthetic.benchmark import described
from vglamm_jax.data.synthetic.vocabulary import SPLITS
from vglamm_jax.data.synthetic.world import Settings

CLIPS = 50


@pytest.fixture(scope="session")
def told():
    """{split: clips as `Described`}; every other one in the held-out wording."""
    settings = Settings(), Settings(wording="held-out")
    return {split: [described(split, 11, i, settings[i % 2]) for i in range(CLIPS)] for split in SPLITS}


@pytest.fixture(scope="session")
def all_told(told):
    return [one for clips in told.values() for one in clips]
