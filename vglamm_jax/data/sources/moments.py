"""What the sets for finding moments share: a video, and sentences with their seconds (facts 6.9)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from vglamm_jax.data.schema import BadRecord, Example, Span, Turn
from vglamm_jax.data.sources import frames_rules, turns
from vglamm_jax.data.sources.videos import file_media


class Moment(NamedTuple):
    key: str
    sentence: str
    start: float
    end: float


def moments_of(
    root: Path, source: str, split: str, video: str, place: str, moments: Sequence[Moment]
) -> Iterator[Example | BadRecord]:
    """An example of a video's moments, each a turn that stands alone.

    A moment that is empty, or starts after the video's end, is a `BadRecord`; one that ends later ends with the video.
    """
    media = file_media(root, place)
    seconds, good = media.length / media.fps, []
    for moment in moments:
        try:
            good.append(turns.locate(turns.sentence(moment.sentence), within(moment, seconds)))
        except ValueError as error:
            yield BadRecord(source, f"{video}/{moment.key}", str(error))
    if good:
        yield example(source, split, video, media, good)


def within(moment: Moment, seconds: float) -> Span:
    """The moment's span, cut at the end of the video. Raises ValueError."""
    if not 0 <= moment.start < moment.end:
        raise ValueError(f"lasts from {moment.start:g} to {moment.end:g} s: {moment.sentence!r}")
    if moment.start >= seconds:
        raise ValueError(f"starts at {moment.start:g} s of a video of {seconds:.2f} s: {moment.sentence!r}")
    return moment.start, min(moment.end, seconds)


def example(source: str, split: str, id: str, media, good: Sequence[Turn], **meta) -> Example:
    return Example(
        id=id,
        source=source,
        split=split,
        media=media,
        turns=tuple(good),
        independent=True,
        meta={"frames_rule": frames_rules.SECOND, **meta},
    )
