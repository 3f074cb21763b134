"""What the grounded captions of GranD-f share: spans of a caption, the objects behind each, one turn that describes."""

from collections.abc import Iterable
from pathlib import Path

from vglamm_jax.data import templates
from vglamm_jax.data.markup import Phrase
from vglamm_jax.data.schema import Example, Media, Obj, Turn
from vglamm_jax.data.sources.own import DataError

FOLDER = "grandf_dataset/GranD-f"
Spans = dict[tuple[int, int], list[str]]  # (start, end) of the caption -> ids of objects


def tidy_caption(caption: str) -> str:
    """Without the quotation marks some are written in; spans count from there."""
    return caption.strip('"').strip()


def phrases(caption: str, spans: Spans) -> tuple[Phrase, ...]:
    """Phrases in order, one a span: objects with the same span share a [SEG].

    Where spans overlap, the one that starts later keeps its characters; of two that start together, the shorter one.
    A span that has none left is dropped.

    Raises:
        DataError: a span outside the caption.
    """
    found: list[Phrase] = []
    for (start, end), ids in sorted(spans.items()):
        if not 0 <= start < end <= len(caption):
            raise DataError(f"the span {start}..{end} is not in the caption of {len(caption)} characters")
        last = found[-1] if found else Phrase(0, 0)
        if last.start < start < last.end:
            found[-1] = _trimmed(caption, last.start, start, last.objects)
        phrase = _trimmed(caption, start if start > last.start else max(start, last.end), end, ids)
        if phrase.start < phrase.end:
            found.append(phrase)
    return tuple(found)


def example(
    source: str, split: str, id: str, media: Media, caption: str, spans: Spans, objects: Iterable[Obj]
) -> Example:
    """Raises DataError when no phrase is left."""
    said = phrases(caption, spans)
    if not said:
        raise DataError("no phrase of the caption has a mask")
    used = {name for phrase in said for name in phrase.objects}
    question = templates.fill(templates.DESCRIBE["image"][0], kind="image")
    return Example(
        id=id,
        source=source,
        split=split,
        media=media,
        objects=tuple(thing for thing in objects if thing.id in used),
        turns=(Turn(question=question, answer=caption, phrases=said, task="describe"),),
    )


def stem(name: str) -> str:
    return Path(name).stem


def _trimmed(caption: str, start: int, end: int, ids: Iterable[str]) -> Phrase:
    """Without spaces at its ends."""
    text = caption[start:end]
    start += len(text) - len(text.lstrip())
    return Phrase(start, max(start, start + len(text.strip())), tuple(dict.fromkeys(ids)))
