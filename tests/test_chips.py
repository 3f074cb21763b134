"""The table of published chip figures."""

import pytest

from vglamm_jax import chips


@pytest.mark.parametrize(("name", "clock"), [("v4", 1.05), ("v5e", 1.5), ("v5p", 1.75), ("v6e", 1.75), ("tpu7x", 2.2)])
def test_clocks_follow_from_peaks_and_matrix_units(name, clock):
    assert chips.of_topology(f"{name}:2x2").clock / 1e9 == pytest.approx(clock, rel=0.01)


def test_chips_by_the_names_jax_has_for_them():
    assert chips.of_kind("TPU v5 lite").name == "v5e" and chips.of_kind("TPU v5").name == "v5p"
    assert chips.of_kind("cpu") is None
    kinds = [kind for chip in chips.CHIPS for kind in chip.kinds]
    assert len(kinds) == len(set(kinds))


def test_unknown_generation_is_named():
    with pytest.raises(ValueError, match=r"no figures of 'v99' chips .* only of v4, v5e"):
        chips.of_topology("v99:4x4")
