"""Which rows of a batch a process prepares."""

from vglamm_jax.train.feed import held_rows


def test_a_host_holds_rows_that_do_not_lie_together():
    # Chips (0, 0), (0, 1), (1, 0), (1, 1) of 4 x 4, with "fsdp" along the rows of chips; two rows of 32 a chip.
    held = {chip: (slice(2 * place, 2 * place + 2),) for chip, place in zip("abcd", (0, 1, 4, 5))}
    assert held_rows(held, 32) == [0, 1, 2, 3, 8, 9, 10, 11]
    # Two chips that share their rows, along "tensor", and one device that has all.
    assert held_rows({"a": (slice(4, 8),), "b": (slice(4, 8),)}, 8) == [4, 5, 6, 7]
    assert held_rows({"a": (slice(None),)}, 3) == [0, 1, 2]
