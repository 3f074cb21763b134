"""Streamed text never shows a marker or a broken character, and adds up to the answer's text."""

import pytest

from vglamm_jax.infer.phrases import read
from vglamm_jax.infer.stream import TextStream

RAW = "<p>A dog</p> [SEG] chases <p>two cats</p> [SEG], each 5 < 6 kg [see above]."


@pytest.mark.parametrize("size", [1, 3, 7, 200])
def test_pieces_add_up_to_the_text(size):
    pieces = []
    stream = TextStream(lambda ids: "".join(map(chr, ids)), pieces.append)
    for start in range(0, len(RAW), size):
        stream.add([ord(c) for c in RAW[start : start + size]])
    stream.finish()
    assert "".join(pieces) == read(RAW).text
    assert not any("SEG" in piece or "p>" in piece for piece in pieces)


def test_half_a_character_waits():
    pieces = []
    stream = TextStream(lambda ids: bytes(ids).decode("utf-8", "replace"), pieces.append)
    for byte in "é!".encode():
        stream.add([byte])
    assert pieces == ["é", "!"]
