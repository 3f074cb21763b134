"""Every part against values stored in tests/golden/ (made by tests/make_golden.py): runs without PyTorch."""

import numpy as np
import pytest
from golden_cases import CASES, FOLDER, OURS

# A bfloat16 memory may round the other way on another machine.
TOLERANCE = {"sam2_video": 1e-3}


@pytest.mark.parametrize("name", CASES)
def test_equals_stored_values(name):
    ours = CASES[name]()
    with np.load(FOLDER / f"{name}.npz") as stored:
        assert set(ours) == set(stored.files)
        for key, value in ours.items():
            difference = np.abs(value - stored[key]).max() / np.abs(stored[key]).max()
            assert difference < TOLERANCE.get(name, 1e-4), f"{name} {key}: {difference:.1e}"


def test_stored_values_vary():
    """A constant would make any comparison pass."""
    for name in CASES:
        with np.load(FOLDER / f"{name}.npz") as stored:
            assert all(np.isfinite(stored[key]).all() and stored[key].std() > 0 for key in stored.files), name


def test_the_set_is_small_and_complete():
    assert {path.stem for path in FOLDER.glob("*.npz")} == set(CASES) and set(OURS) < set(CASES)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 2**20
