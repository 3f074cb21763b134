"""What people read, and which words each [SEG] belongs to."""

import pytest

from vglamm_jax.infer.phrases import read


@pytest.mark.parametrize(
    ("raw", "text", "phrases"),
    [
        ("<p>A dog</p> [SEG] walks across the lawn [SEG].", "A dog walks across the lawn.", ["A dog", "the lawn"]),
        (
            "<s> A dog  [SEG] walks across the lawn  [SEG] slowly.<|end|><|endoftext|>",
            "A dog walks across the lawn slowly.",
            ["A dog", "the lawn"],
        ),
        ("<p> A man </p> [SEG] (left) and ( <p>dogs</p> [SEG] )", "A man (left) and ( dogs)", ["A man", "dogs"]),
        ("<p> two dogs </p> [SEG] [SEG], [SEG] run", "two dogs, run", ["two dogs"] * 3),
        ("the dog [SEG], [SEG] and a cat [SEG]", "the dog, and a cat", ["the dog", "the dog", "a cat"]),
        ("<p>unclosed one [SEG] x", "unclosed one x", ["unclosed one"]),
        ("<p>A dog</p> runs, it is [SEG].", "A dog runs, it is.", ["it is"]),
        ("<p></p> [SEG] x", "x", [""]),
        ("Sure, [SEG].", "Sure.", [""]),
        ("Sure, it is [SEG].", "Sure, it is.", ["it is"]),
        ("[SEG] is it", "is it", [""]),
        ("[SEG]", "", [""]),
        ("No object here.", "No object here.", []),
        ("", "", []),
        (
            "a man in the white shirt [SEG]\nHere: The ball[SEG].",
            "a man in the white shirt\nHere: The ball.",
            ["a man in the white shirt", "The ball"],
        ),
        ("one two three four5 [SEG]", "one two three four5", ["one two three four5"]),
        ("p q r s t u v w x y [SEG]", "p q r s t u v w x y", ["r s t u v w x y"]),
        ("一只狗[SEG]在草地上，男人[SEG]。", "一只狗在草地上，男人。", ["一只狗", "男人"]),
        ("hello \n\n [SEG] \n", "hello", [""]),
        ("សIf [SEG] Мексику [SEG] <|endoftext|>", "សIf Мексику", ["សIf", "Мексику"]),
        ("x < y and a<b> stay<|placeholder1|>", "x < y and a<b> stay", []),
    ],
)
def test_reading(raw, text, phrases):
    reading = read(raw)
    assert reading.text == text
    assert [reading.text[start:stop] for start, stop in reading.spans] == phrases
    assert all(0 <= start <= stop <= len(text) for start, stop in reading.spans)


def test_words_of_a_phrase_that_occurs_twice():
    assert read("a dog [SEG] sees a dog [SEG]").spans == [(0, 5), (11, 16)]
