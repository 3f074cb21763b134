"""Streamed text never shows a marker or a broken character, and adds up to the answer's text."""

import random

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


WRITTEN = (
    *" \n,;:.!?<[]aSE|é🐕，\u00a0",
    *("a dog", "[SEG]", " [SEG]", "<p>", "</p>", "<|end|>", "<|", "|>", "</s>", "<unk>", "[SEG", "<pa", " " * 40),
    "< " * 40,
)


@pytest.mark.parametrize("longest", [1, 3, 12])
def test_whatever_is_written_and_wherever_it_is_cut(longest):
    for seed in range(500):
        rng = random.Random(seed)
        raw = "".join(rng.choices(WRITTEN, k=12))
        data, pieces = list(raw.encode()), []
        stream = TextStream(lambda ids: bytes(ids).decode("utf-8", "replace"), pieces.append)
        while data:
            size = rng.randint(1, longest)
            stream.add(data[:size])
            del data[:size]
        stream.finish()
        assert "".join(pieces) == read(raw).text, raw


def test_a_comma_that_was_taken_back_ends_nothing():
    pieces = []
    stream = TextStream("".join, pieces.append)
    for part in ("Sure,", " [SEG]", ".", " The dog", " runs."):
        stream.add([part])
    assert pieces == ["Sure", ".", " The dog", " runs."]
