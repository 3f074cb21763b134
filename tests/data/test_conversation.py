"""What the language model learns from an example: the original's own training batch, and appendix A of the facts."""

import dataclasses
import json

import numpy as np
import pytest
from tiny_examples import CAPTION, NAMES, example, segment_turn

from vglamm_jax.config import load_config
from vglamm_jax.data import templates
from vglamm_jax.data.conversation import (
    ConversationRule,
    Exchange,
    exchanges,
    fitting,
    mirrored_exchanges,
    objects_of,
    tokens,
    with_times,
)
from vglamm_jax.data.markup import Phrase
from vglamm_jax.data.prompts import IGNORE, PLACEHOLDER_ID, PromptError
from vglamm_jax.data.schema import Example, Media, Obj, Turn
from vglamm_jax.data.tokenizer import decode, load_tokenizer, tiny_tokenizer

AS_WRITTEN = ConversationRule(wording="as_written")
TWO = (Exchange("Where is it?", "Sure, [SEG].", (("a",),)), Exchange("And the dog?", "It is [SEG] there.", (("b",),)))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def cfg():
    return load_config("tiny")


@pytest.fixture(scope="module", params=[True, False], ids=["bos", "no-bos"])
def tokenizer(request, tmp_path_factory):
    folder = tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"add_bos_token": request.param}))
    return load_tokenizer(folder)


def golden_example(conversation: list[dict]) -> Example:
    """A conversation of the golden case as an example: its answer has a bare phrase for each [SEG]."""
    question, answer = (message["value"] for message in conversation)
    pieces = answer.split("[SEG]")
    ends = np.cumsum([len(piece) for piece in pieces[:-1]]).tolist()
    return Example(
        id="golden",
        media=Media(kind="video", size=(4, 4), length=6, path="dog.mp4"),
        objects=tuple(Obj(id=str(i)) for i in range(len(ends))),
        turns=(Turn(question=question.removeprefix("<video>\n"), answer="".join(pieces),
                    phrases=tuple(Phrase(end, end, (str(i),)) for i, end in enumerate(ends))),),
    )  # fmt: skip


@pytest.mark.parametrize("protocol", ["default", "reference"])
def test_the_training_batch_equals_the_originals(golden, cfg, protocol):
    """From examples in the schema: ids and labels with placeholders taken out again, and [SEG] positions."""
    case, inputs = json.loads((golden / "case.json").read_text()), np.load(golden / "inputs.npz")
    tokenizer = load_tokenizer(golden / "checkpoint")
    cfg = dataclasses.replace(cfg, seg_token_id=case["seg_token_id"])
    for row, conversation in enumerate(case["conversations"]):
        said = exchanges(golden_example(conversation), rng(), AS_WRITTEN)
        found = tokens(said, "video", tokenizer, cfg, protocol)
        length = inputs["train_attention_mask"][row].sum()
        ids, labels = (inputs[name][row, :length] for name in ("train_input_ids", "train_labels"))
        placeholders = ids == PLACEHOLDER_ID
        np.testing.assert_array_equal(found.ids[found.visual < 0], ids[~placeholders])
        np.testing.assert_array_equal(found.labels[found.visual < 0], labels[~placeholders])
        assert (found.labels[found.visual >= 0] == IGNORE).all()
        assert len(found.ids) == length - placeholders.sum() + cfg.video_tokens
        assert found.ids[found.seg + 1].tolist() == [case["seg_token_id"]] * len(objects_of(said))


@pytest.mark.parametrize("kind", ["video", "image", None])
def test_every_turn_is_learnt_with_and_without_bos(tokenizer, cfg, kind):
    found = tokens(TWO, kind, tokenizer, cfg)
    learnt = decode(tokenizer, found.labels[found.labels != IGNORE])
    assert learnt == "Sure, [SEG].<|end|>It is [SEG] there.<|end|>"
    assert (found.ids[found.seg + 1] == cfg.seg_token_id).all() and len(found.seg) == 2
    rows = found.visual[found.visual >= 0]
    start, count = {"video": (0, cfg.video_tokens), "image": (cfg.video_tokens, cfg.image_tokens), None: (0, 0)}[kind]
    assert rows.tolist() == list(range(start, start + count))


def test_the_original_ignores_several_turns_without_bos(tokenizer, cfg):
    found = tokens(TWO, "video", tokenizer, cfg, "reference")
    assert (found.labels == IGNORE).all() == (not tokenizer.add_bos_token)
    assert len(found.seg) == 2


@pytest.mark.parametrize(("template", "end"), [("llama3", "<|eot_id|>"), ("chatml", "<|im_end|>")])
def test_other_templates(tokenizer, cfg, template, end):
    for special in ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|im_start|>", "<|im_end|>"):
        tokenizer.add_tokens(special)
    found = tokens(TWO, "video", tokenizer, dataclasses.replace(cfg, template=template))
    learnt = decode(tokenizer, found.labels[found.labels != IGNORE])
    assert learnt == f"Sure, [SEG].{end}It is [SEG] there.{end}"


def test_a_seg_spelt_out_by_a_text_is_refused(tokenizer, cfg):
    with pytest.raises(PromptError, match=r"2 \[SEG\] tokens for 1 phrases"):
        tokens((Exchange("Who?", "Sure, [SEG] or [SEG].", (("a",),)),), "video", tokenizer, cfg)


def test_the_last_turns_go_when_there_is_no_room(tokenizer, cfg):
    whole, one = (len(tokens(TWO[:n], "video", tokenizer, cfg).ids) for n in (2, 1))
    assert fitting(TWO, whole, "video", tokenizer, cfg, "default")[0] == TWO
    assert fitting(TWO, whole - 1, "video", tokenizer, cfg, "default")[0] == TWO[:1]
    with pytest.raises(PromptError, match=f"needs {one} positions, more than the {one - 1}"):
        fitting(TWO, one - 1, "video", tokenizer, cfg, "default")


def test_a_description_is_worded_in_all_ways_and_keeps_its_phrases():
    made, _ = example()
    drawn = [exchanges(made, rng(seed), ConversationRule())[0] for seed in range(60)]
    assert {one.question for one in drawn} == {templates.fill(t) for t in templates.DESCRIBE["video"]}
    assert {one.answer for one in drawn} == {"<p> A ball </p> [SEG] and <p> a box </p> [SEG] pass."}
    assert objects_of(drawn[:1]) == [(NAMES[0],), (NAMES[1],)]
    assert exchanges(made, rng(5), ConversationRule()) == exchanges(made, rng(5), ConversationRule())


def test_requests_and_short_answers_are_drawn_and_what_people_wrote_stays():
    made, _ = example(turns=(segment_turn(NAMES[0]),), independent=True)
    drawn = [exchanges(made, rng(seed), ConversationRule())[0] for seed in range(80)]
    assert {one.question for one in drawn} == {templates.fill(t, NAMES[0]) for t in templates.SEGMENT["video"]}
    assert {one.answer for one in drawn} == set(templates.SEGMENT_ANSWERS)
    own = dataclasses.replace(segment_turn(NAMES[0]), question="Which one is red?", answer="This: , I think.")
    made, _ = example(turns=(own,))
    assert exchanges(made, rng(), ConversationRule())[0].question == "Which one is red?"
    assert exchanges(made, rng(), ConversationRule())[0].answer == "This: [SEG], I think."
    made, _ = example(turns=(segment_turn(NAMES[0]),))
    assert exchanges(made, rng(), AS_WRITTEN)[0].question == f"Please segment {NAMES[0]} in this video."


def test_a_wording_is_drawn_anew_before_what_follows_it():
    """ReasonSeg: a mask, and an explanation that nobody else has worded."""
    asked = templates.fill(templates.SEGMENT_BY_SENTENCE[0], "What is hot?")
    turn = dataclasses.replace(
        segment_turn(NAMES[0]), question=f"{asked} Explain why.", answer="Sure, . It boils.", expression="What is hot?"
    )
    made, _ = example(turns=(turn,), independent=True)
    drawn = [exchanges(made, rng(seed), ConversationRule())[0] for seed in range(80)]
    expected = {f"{templates.fill(t, 'What is hot?')} Explain why." for t in templates.SEGMENT_BY_SENTENCE}
    assert {one.question for one in drawn} == expected
    assert {one.answer for one in drawn} == {f"{text} It boils." for text in templates.SEGMENT_ANSWERS}


def test_as_many_wordings_as_the_original_has():
    counts = {name: len(getattr(templates, name)) for name in ("SEGMENT_ANSWERS", "LOCATE", "LOCATE_ANSWERS")}
    counts |= {f"SEGMENT {kind}": len(templates.SEGMENT[kind]) for kind in ("image", "video")}
    counts |= {f"DESCRIBE {kind}": len(templates.DESCRIBE[kind]) for kind in ("image", "video")}
    counts |= {name: len(getattr(templates, name)) for name in ("GROUND", "GROUND_BY_QUESTION", "GROUND_ANSWERS")}
    assert list(counts.values()) == [5, 4, 5, 4, 4, 6, 6, 3, 5, 5]
    assert all(text.count("[SEG]") == 1 for text in (*templates.SEGMENT_ANSWERS, *templates.GROUND_ANSWERS))
    assert all(templates.fill(text).endswith(("{end}).", "{end}).")) for text in templates.LOCATE_ANSWERS)


def test_turns_that_stand_alone():
    made, _ = example(turns=tuple(segment_turn(name) for name in NAMES), independent=True)
    first = [objects_of(exchanges(made, rng(seed), AS_WRITTEN)) for seed in range(20)]
    assert {len(ids) for ids in first} == {1} and len({ids[0] for ids in first}) == 3
    several = exchanges(made, rng(), ConversationRule(max_turns=3, max_objects=2))
    assert len(several) == 2 and several[0] != several[1]
    whole, _ = example(turns=tuple(segment_turn(name) for name in NAMES))
    assert objects_of(exchanges(whole, rng(), AS_WRITTEN)) == [(name,) for name in NAMES]


def test_times_become_numbers_of_the_frames_that_are_seen():
    times = np.array([0.0, 0.5, 1.0, 1.5, 2.0])
    said = (Exchange("When?", "frames:({start},{end}).", time_span=(0.5, 1.6)), Exchange("Why {start}?", "{end}"))
    assert [one.answer for one in with_times(said, times)] == ["frames:(1,3).", "{end}"]
    short = (Exchange("When?", "{start}-{end}", time_span=(1.1, 1.2)),)
    assert with_times(short, times)[0].answer == "2-2"


def test_mirrored_conversations():
    said = (Exchange("Where is the left ball?", "<p> The ball on the left </p> [SEG]"), Exchange("And?", "Gone."))
    assert [one.question for one in mirrored_exchanges(said)] == ["Where is the right ball?", "And?"]
    assert mirrored_exchanges(said)[0].answer == "<p> The ball on the right </p> [SEG]"
    assert mirrored_exchanges((*said, Exchange("Who?", "She left the room."))) is None


def test_the_caption_of_the_tiny_example_is_what_its_phrases_say():
    assert [CAPTION[p.start : p.end] for p in example()[0].turns[0].phrases] == ["A ball", "a box"]
