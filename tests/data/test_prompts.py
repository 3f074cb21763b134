"""Chat text, ids, labels and [SEG] positions: the original's own arrays and appendix A of the facts."""

import json

import numpy as np
import pytest

from vglamm_jax.data import prompts
from vglamm_jax.data.prompts import IGNORE, PLACEHOLDER_ID, Turn
from vglamm_jax.data.sentencepieces import Encoding
from vglamm_jax.data.tokenizer import decode, load_tokenizer, tiny_tokenizer

SEG = 511
TWO_TURNS = [
    Turn("user", "<video>\nWhere is it?"),
    Turn("assistant", "Sure, [SEG]."),
    Turn("user", "And the dog?"),
    Turn("assistant", "It is [SEG] there."),
]


@pytest.fixture(scope="module", params=[True, False], ids=["bos", "no-bos"])
def tokenizer(request, tmp_path_factory):
    folder = tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text()) | {"add_bos_token": request.param}
    path.write_text(json.dumps(settings))
    return load_tokenizer(folder)


@pytest.fixture(scope="module")
def case(golden):
    return json.loads((golden / "case.json").read_text())


@pytest.fixture(scope="module")
def inputs(golden):
    return np.load(golden / "inputs.npz")


@pytest.fixture(scope="module")
def golden_tokenizer(golden):
    return load_tokenizer(golden / "checkpoint")


def test_question_equals_the_original(case, inputs, golden_tokenizer):
    text = prompts.render(prompts.question(case["prompt"]), "phi3", frames=16)
    np.testing.assert_array_equal(prompts.encode(text, golden_tokenizer), inputs["input_ids"][0])


def test_training_text_equals_the_original(case):
    for messages, text in zip(case["conversations"], case["prompts_text"]):
        assert prompts.render(prompts.as_turns(messages)) == text


@pytest.mark.parametrize("protocol", ["default", "reference"])
def test_training_batch_equals_the_original(case, inputs, golden_tokenizer, protocol):
    turns = [prompts.as_turns(messages) for messages in case["conversations"]]
    for row, turn in enumerate(turns):
        ids, labels = prompts.encode_labelled(turn, golden_tokenizer, protocol=protocol)
        attended = inputs["train_attention_mask"][row].astype(bool)
        np.testing.assert_array_equal(ids, inputs["train_input_ids"][row][attended])
        np.testing.assert_array_equal(labels, inputs["train_labels"][row][attended])


@pytest.mark.parametrize("turns", [TWO_TURNS[:2], TWO_TURNS], ids=["one", "two"])
def test_labels_are_the_answers_and_their_end(tokenizer, turns):
    ids, labels = prompts.encode_labelled(turns, tokenizer, frames=4)
    answers = [turn.text for turn in turns if turn.role == "assistant"]
    assert decode(tokenizer, labels[labels != IGNORE]) == "".join(answer + "<|end|>" for answer in answers)
    np.testing.assert_array_equal(ids[labels != IGNORE], labels[labels != IGNORE])


def test_reference_labels(tokenizer):
    default = prompts.encode_labelled(TWO_TURNS, tokenizer)[1]
    reference = prompts.encode_labelled(TWO_TURNS, tokenizer, protocol="reference")[1]
    if tokenizer.add_bos_token:
        np.testing.assert_array_equal(reference, default)
    else:
        assert (reference == IGNORE).all()  # the original's bug
    single = prompts.encode_labelled(TWO_TURNS[:2], tokenizer, protocol="reference")[1]
    np.testing.assert_array_equal(single, prompts.encode_labelled(TWO_TURNS[:2], tokenizer)[1])


def test_placeholders(tokenizer):
    ids = prompts.encode(prompts.render(prompts.question("Who?"), frames=5), tokenizer)
    assert (ids == PLACEHOLDER_ID).sum() == 5
    assert (ids == tokenizer.bos_token_id).sum() == tokenizer.add_bos_token
    image = prompts.encode(prompts.render(prompts.question("Who?", "image"), frames=5), tokenizer)
    assert (image == PLACEHOLDER_ID).sum() == 1
    text_only = prompts.encode(prompts.render(prompts.question("Who?", None)), tokenizer)
    assert not (text_only == PLACEHOLDER_ID).any()


def test_a_prompt_that_itself_starts_with_the_bos_token_loses_no_word(tokenizer):
    """ChatML's does for a tokenizer whose BOS is <|im_start|>, as SmolLM2's."""
    ids = prompts.encode(f"{tokenizer.bos_token}A<image>B C", tokenizer)
    after_picture = ids[np.flatnonzero(ids == PLACEHOLDER_ID)[0] + 1 :]
    np.testing.assert_array_equal(after_picture, tokenizer("B C", add_special_tokens=False).input_ids)


def test_marker_moves_to_the_front_of_its_turn():
    text = prompts.render([Turn("user", "Look at <video> here")], frames=2)
    assert "<|user|>\n<image><image>\nLook at  here<|end|>" in text


@pytest.mark.parametrize(
    ("template", "tail"),
    [
        ("phi3", "Hi<|end|>\n<|assistant|>\n"),
        ("llama3", "Hi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"),
        ("chatml", "Hi<|im_end|>\n<|im_start|>assistant\n"),
    ],
)
def test_templates_end_with_the_generation_prompt(template, tail):
    text = prompts.render([Turn("user", "Hi")], template, system="Be brief.")
    assert text.endswith(tail)
    assert "Be brief." in text
    assert not prompts.render([Turn("user", "Hi"), Turn("assistant", "Yo")], template).endswith(tail)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "empty"),
        ([{"from": "robot", "value": "x"}], "needs a role"),
        ([{"role": "user"}], "needs a role"),
        ([{"role": "assistant", "content": "x"}], "expected the user"),
        ([Turn("user", "a"), Turn("user", "b")], "must alternate"),
    ],
)
def test_bad_conversations(messages, message):
    with pytest.raises(prompts.PromptError, match=message):
        prompts.as_turns(messages)


def test_unknown_template():
    with pytest.raises(prompts.PromptError, match="choose one of phi3"):
        prompts.render([Turn("user", "x")], "vicuna")


def test_a_tokenizer_that_merges_across_turns_is_refused():
    class FourCharacters:
        bos_token_id = None

        def __call__(self, text):
            return Encoding([hash(text[i : i + 4]) for i in range(0, len(text), 4)])

    with pytest.raises(prompts.PromptError, match="special tokens apart"):
        prompts.encode_labelled([Turn("user", "xy"), Turn("assistant", "abc")], FourCharacters(), "chatml")


def test_raw_seg_mask():
    ids = np.array([1, 5, -200, -200, 7, SEG, 8, SEG, 9])
    np.testing.assert_array_equal(prompts.seg_mask(ids, SEG), np.array([0, 0, 0, 0, 1, 0, 1, 0, 0], bool))


def test_seg_in_the_question_counts_only_for_the_original(tokenizer):
    turns = [Turn("user", "what is [SEG]?"), Turn("assistant", "a dog [SEG]")]
    ids, labels = prompts.encode_labelled(turns, tokenizer)
    assert prompts.seg_mask(ids, SEG).sum() == 2
    assert prompts.seg_mask(ids, SEG, labels).sum() == 1
