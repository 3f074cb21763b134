"""What may be done to pictures without making their text wrong."""

import pytest

from vglamm_jax.data.wording import mirrored, names_colour, reversible


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a dog walks", "a dog walks"),
        ("the dog on the left", "the dog on the right"),
        ("The Right one, left of the LEFT car", "The Left one, right of the RIGHT car"),
        ("moves left, then turns right", "moves right, then turns left"),
        ("from left to right", "from right to left"),
        ("the leftmost and the right-hand cup", "the rightmost and the left-hand cup"),
        ("circles clockwise", "circles counterclockwise"),
        ("spins anti-clockwise", "spins clockwise"),
        ("in its left hand", "in its right hand"),
        ("a bird flying to the right behind a tree", "a bird flying to the left behind a tree"),
        ("the copyright of brightly coloured leftovers", "the copyright of brightly coloured leftovers"),
        ("she left the room", None),
        ("the man who left", None),
        ("all crosses going right in this video", "all crosses going left in this video"),
        ("the one that goes left throughout the clip", "the one that goes right throughout the clip"),
        ("it goes right in", None),
        ("the cat right behind the car", None),
        ("the right answer", None),
        ("walks right into the wall", None),
        ("a shirt with the number 7", None),
        ("a sign that says stop", None),
        ("left-handed player", None),
        ("right now it jumps", None),
        ("nothing is left", None),
    ],
)
def test_mirroring(text, expected):
    assert mirrored(text) == expected


def test_mirroring_twice_gives_the_text_back():
    text = "The left ball rolls to the right; the rightmost box turns left, counterclockwise."
    assert mirrored(mirrored(text)) == text != mirrored(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the brown dog with a white collar", True),
        ("a woman wearing a red hat, standing next to a ring", True),
        ("Please segment the car in this video.", True),
        ("the car that turns left", False),
        ("a man walking", False),
        ("the ball falls, then it lies there", False),
        ("he opened the door", False),
        ("the second person", False),
        ("it spins clockwise", False),
        ("who comes in?", False),
        ("a dog doing something", False),
        ("Which large spotted square creeps to the right?", False),
        ("the blue thing that creeps upwards", False),
        ("the dogs that creep", False),
        ("someone who vaulted", False),
        ("Find the striped ring partly covered by the star in this clip and give me its masks.", True),
    ],
)
def test_playing_backwards(text, expected):
    assert reversible(text) == expected


def test_hues():
    assert names_colour("the Red car") and names_colour("a greenish light") and names_colour("what colour is it")
    assert not names_colour("the bored, tired driver")
