"""From the turns of an example to what the language model learns (facts sections 4 and 6).

    said = exchanges(example, rng)           which turns, and how they are worded
    said = with_times(said, times)           "{start}" becomes a frame number
    tokens(said, "video", tokenizer, cfg)    ids, labels, visual rows and [SEG] positions

Any tokenizer and any number of turns: what is supervised is found by encoding prefixes (`prompts.encode_labelled`).
`protocol="reference"` repeats the original's counting, which ignores conversations of several turns when the tokenizer
adds no BOS, and counts a [SEG] that stands in a question.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from vglamm_jax.config import VideoGlammConfig, config
from vglamm_jax.data import hints, prompts, splice, templates
from vglamm_jax.data.frames import frame_numbers
from vglamm_jax.data.prompts import IGNORE, PromptError, Protocol
from vglamm_jax.data.schema import Example, Span, Turn, marked_answer
from vglamm_jax.data.wording import mirrored


@config
class ConversationRule:
    """What is drawn from an example.

    max_turns: of the turns that stand alone (`Example.independent`), so many become one conversation; the encoders then
    run once for all of them. 1 is how the model is asked later. Sources may say how likely each turn is (`data.hints`).
    wording: "drawn" words anew each request and short answer that is one of `templates`; "as_written" keeps all texts.
    too_many: a conversation with more [SEG] than `max_objects` is skipped, or keeps its text but loses the masks beyond
    ("cut", as in the original).
    """

    max_turns: int = 1
    max_objects: int = 4
    wording: Literal["drawn", "as_written"] = "drawn"
    too_many: Literal["skip", "cut"] = "skip"


@dataclasses.dataclass(frozen=True)
class Exchange:
    """A question and the answer with its markers; `objects` holds the ids behind each [SEG]."""

    question: str
    answer: str
    objects: tuple[tuple[str, ...], ...] = ()
    time_span: Span | None = None


class Tokens(NamedTuple):
    """One conversation with its visual rows in place, L positions."""

    ids: np.ndarray  # int32 [L], 0 where a visual row stands
    visual: np.ndarray  # int32 [L], row of the visual table, -1 = text; an image's rows follow the video's
    labels: np.ndarray  # int32 [L], -100 = not learnt
    seg: np.ndarray  # int32 [n], positions whose next token is a [SEG] that is learnt


def exchanges(example: Example, rng: np.random.Generator, rule: ConversationRule) -> tuple[Exchange, ...]:
    """The conversation to learn: all turns in order, or some of those that stand alone."""
    turns = _drawn(example, rng, rule) if example.independent else example.turns
    return tuple(_exchange(turn, example.media.kind, rng, rule) for turn in turns)


def objects_of(said: Sequence[Exchange]) -> list[tuple[str, ...]]:
    """The ids behind each [SEG] of the conversation, in order."""
    return [ids for one in said for ids in one.objects]


def texts_of(said: Sequence[Exchange]) -> list[str]:
    return [text for one in said for text in (one.question, one.answer)]


def mirrored_exchanges(said: Sequence[Exchange]) -> tuple[Exchange, ...] | None:
    """The same about the mirrored pictures, None where that cannot be said."""
    texts = [mirrored(text) for text in texts_of(said)]
    if None in texts:
        return None
    pairs = zip(texts[::2], texts[1::2])
    return tuple(dataclasses.replace(one, question=q, answer=a) for one, (q, a) in zip(said, pairs))


def with_times(said: Sequence[Exchange], times: np.ndarray) -> tuple[Exchange, ...]:
    """ "{start}" and "{end}" become numbers of the frames the model sees, whose times [n] are in seconds."""
    return tuple(one if one.time_span is None else _timed(one, times) for one in said)


def tokens(
    said: Sequence[Exchange],
    kind: Literal["video", "image"] | None,
    tokenizer,
    cfg: VideoGlammConfig,
    protocol: Protocol = "default",
) -> Tokens:
    """Ids, labels and [SEG] positions of a conversation about a video, an image, or nothing (`kind` None).

    Raises:
        PromptError: a tokenizer that does not fit the template, or texts that hide or add a [SEG].
    """
    turns = prompts.question(said[0].question, kind)
    for i, one in enumerate(said):
        turns += [prompts.Turn("user", one.question)] * (i > 0) + [prompts.Turn("assistant", one.answer)]
    ids, labels = prompts.encode_labelled(turns, tokenizer, cfg.template, cfg.frames, protocol=protocol)
    rows = {"video": cfg.video_tokens, "image": cfg.image_tokens, None: 0}[kind]
    text, visual, predicts = splice.expand(ids, rows, cfg.seg_token_id)
    labels = splice.expand_labels(ids, labels, rows)
    if protocol == "default":
        predicts[:-1] &= labels[1:] != IGNORE
        if predicts.sum() != len(objects_of(said)):
            found = f"{predicts.sum()} [SEG] tokens for {len(objects_of(said))} phrases"
            raise PromptError(f"{found}: the tokenizer and the config disagree about [SEG], or a text spells it out")
    if kind == "image":
        visual = np.where(visual >= 0, visual + cfg.video_tokens, -1)
    return Tokens(text, visual.astype(np.int32), labels, np.flatnonzero(predicts).astype(np.int32))


def fitting(said: Sequence[Exchange], longest: int, kind, tokenizer, cfg: VideoGlammConfig, protocol: Protocol):
    """(exchanges, Tokens) of at most `longest` positions: the last exchanges are left out until the rest fits.

    Raises:
        PromptError: not even the first exchange fits.
    """
    for count in range(len(said), 0, -1):
        found = tokens(said[:count], kind, tokenizer, cfg, protocol)
        if len(found.ids) <= longest:
            return tuple(said[:count]), found
    raise PromptError(f"the conversation needs {len(found.ids)} positions, more than the {longest} there are")


def _drawn(example: Example, rng: np.random.Generator, rule: ConversationRule) -> list[Turn]:
    drawn, segs = [], 0
    for i in _order(example, rng):
        turn = example.turns[i]
        if not drawn or (len(drawn) < rule.max_turns and segs + len(turn.phrases) <= rule.max_objects):
            drawn.append(turn)
            segs += len(turn.phrases)
    return drawn


def _order(example: Example, rng: np.random.Generator) -> np.ndarray:
    """Turns in the order of being drawn, by their odds if they have some; those of odds 0 are left out."""
    odds = hints.weights(example)
    if odds is None:
        return rng.permutation(len(example.turns))
    arrival = rng.exponential(size=len(odds)) / np.where(odds > 0, odds, 1)
    return np.argsort(np.where(odds > 0, arrival, np.inf))[: np.count_nonzero(odds)]


def _exchange(turn: Turn, kind: str, rng: np.random.Generator, rule: ConversationRule) -> Exchange:
    question, (answer, objects) = turn.question, marked_answer(turn)
    if rule.wording == "drawn":
        what = turn.expression
        question = templates.another(question, templates.QUESTIONS.get(turn.task, ()), what, kind, rng)
        answer = templates.another(answer, templates.ANSWERS.get(turn.task, ()), what, kind, rng)
    return Exchange(question, answer, tuple(objects), turn.time_span)


def _timed(one: Exchange, times: np.ndarray) -> Exchange:
    start, end = frame_numbers(one.time_span, times)
    return dataclasses.replace(one, answer=one.answer.replace("{start}", str(start)).replace("{end}", str(end)))
