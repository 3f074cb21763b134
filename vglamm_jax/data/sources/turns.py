"""The turns of public video sets, in the first wording of their kind; training draws others (`data.templates`)."""

from collections.abc import Iterable, Sequence

from vglamm_jax.data import templates
from vglamm_jax.data.markup import Phrase, parse_marked
from vglamm_jax.data.schema import Span, Turn

NOT_PUBLISHED = "The annotation of this split is not published."


def describe(caption: str, phrases: Sequence[Phrase]) -> Turn:
    question = templates.fill(templates.DESCRIBE["video"][0])
    return Turn(question=question, answer=caption, phrases=tuple(phrases), task="describe")


def segment(expression: str, objects: Iterable[str]) -> Turn:
    """One [SEG] of all the objects the expression refers to."""
    question = templates.fill(templates.SEGMENT["video"][0], expression)
    answer, phrases = parse_marked(templates.fill(templates.SEGMENT_ANSWERS[0]), [list(objects)])
    return Turn(question=question, answer=answer, phrases=phrases, task="segment", expression=expression)


def locate(sentence: str, span: Span) -> Turn:
    """When something happens, without masks."""
    question = templates.fill(templates.LOCATE[0], sentence)
    answer = templates.fill(templates.LOCATE_ANSWERS[0])
    return Turn(question=question, answer=answer, task="locate", expression=sentence, time_span=span)


def ground(sentence: str, span: Span, target: str, interrogative: bool) -> Turn:
    """Where and when something is: a [SEG] and the frames."""
    wordings = templates.GROUND_BY_QUESTION if interrogative else templates.GROUND
    answer, phrases = parse_marked(templates.fill(templates.GROUND_ANSWERS[0]), [[target]])
    question = templates.fill(wordings[0], sentence)
    return Turn(question=question, answer=answer, phrases=phrases, task="locate", expression=sentence, time_span=span)


def answer_with_masks(question: str, answer: str, phrases: Sequence[Phrase]) -> Turn:
    asked = templates.fill(templates.ANSWER_WITH_MASKS[0], question)
    return Turn(question=asked, answer=answer, phrases=tuple(phrases), expression=question)


def unanswered(turn: Turn) -> Turn:
    """The same question where the answer is kept secret for a challenge; for evaluation only."""
    task = "answer" if turn.task == "locate" else turn.task
    return Turn(question=turn.question, answer=NOT_PUBLISHED, task=task, expression=turn.expression)


def lower(expression: str) -> str:
    """An expression as the original asks for it: lower case, single spaces."""
    return " ".join(expression.lower().split())


def sentence(text: str) -> str:
    """A sentence to stand within a question: as `lower`, without its full stop."""
    return lower(text).rstrip(". ")
