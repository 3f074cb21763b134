"""How the video sources word their turns; training must be able to draw other words for each."""

import numpy as np
import pytest

from vglamm_jax.data.markup import Phrase
from vglamm_jax.data.schema import marked_answer
from vglamm_jax.data.sources import turns
from vglamm_jax.data.templates import ANSWERS, QUESTIONS, another

SPAN = (1.0, 2.0)
DETAILED = "Describe this video in detail and mark each thing you name with segmentation masks."
FRAMES = "frames:({start},{end})."
CASES = {
    "segment": (turns.segment("a dog", ["1", "2"]), "Please segment a dog in this video.", "Sure, [SEG]."),
    "describe": (turns.describe("A dog.", [Phrase(0, 5, ("1",))]), DETAILED, "<p> A dog </p> [SEG]."),
    "locate": (
        turns.locate("he sits", SPAN),
        "When does this happen in the video: he sits?",
        f"It happens in {FRAMES}",
    ),
    "ground": (
        turns.ground("he sits", SPAN, "1", interrogative=False),
        "Segment what this sentence is about and say when it happens: he sits",
        f"It is [SEG], in {FRAMES}",
    ),
    "ground by question": (
        turns.ground("who sits?", SPAN, "1", interrogative=True),
        "who sits? Answer with segmentation masks and the frames.",
        f"It is [SEG], in {FRAMES}",
    ),
    "answer": (
        turns.answer_with_masks("Who sits?", "He.", [Phrase(0, 2, ("1",))]),
        "Who sits? Mark what you name with segmentation masks.",
        "<p> He </p> [SEG].",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_wording(name):
    turn, question, answer = CASES[name]
    assert (turn.question, marked_answer(turn).text) == (question, answer)
    rng = np.random.default_rng(0)
    drawn = {another(question, QUESTIONS[turn.task], turn.expression, "video", rng) for _ in range(99)}
    assert question in drawn and len(drawn) >= 3
    if turn.task != "describe" and name != "answer":
        answers = {another(answer, ANSWERS[turn.task], turn.expression, "video", rng) for _ in range(99)}
        assert answer in answers and len(answers) == 5


def test_expressions_are_asked_for_in_lower_case():
    assert turns.lower(" The  Left\nDog. ") == "the left dog."
    assert turns.sentence("He sits down. ") == "he sits down"
