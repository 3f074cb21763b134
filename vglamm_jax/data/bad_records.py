"""Records that cannot be used: what makes one, and the account of those that were passed over."""

import collections
import dataclasses
import logging
from collections.abc import Iterable

from vglamm_jax.data.check import validate
from vglamm_jax.data.markup import MarkupError
from vglamm_jax.data.masks import MaskError, Rle, area, check
from vglamm_jax.data.media import VideoError
from vglamm_jax.data.prompts import PromptError
from vglamm_jax.data.schema import BadRecord, Example, Obj, SchemaError

log = logging.getLogger(__name__)

# Errors that a record is to blame for. Anything else is ours and stops the run.
CAUSES = (BadRecord, SchemaError, VideoError, MaskError, MarkupError, PromptError, OSError)
NAMED = 20  # reasons written out in a report
LOGGED = 5  # of each source; then they are only counted


class BadRecords:
    """How many records were passed over, and why. A record drawn again counts again, but is named once."""

    def __init__(self):
        self.total = 0
        self.reasons: dict[tuple[str, str], str] = {}
        self.by_source: collections.Counter[str] = collections.Counter()
        self._known: collections.Counter[str] = collections.Counter()

    def add(self, records: Iterable[BadRecord]) -> None:
        """Counts them, and logs the first new ones of each source."""
        for record in records:
            self.total += 1
            self.by_source[record.source] += 1
            if (record.source, record.id) not in self.reasons:
                self.reasons[record.source, record.id] = record.reason
                self._log(record)

    def _log(self, record: BadRecord) -> None:
        self._known[record.source] += 1
        if self._known[record.source] <= LOGGED:
            log.warning("passed over %s", record)
        if self._known[record.source] == LOGGED:
            log.warning("more of %s are counted without a word", record.source)

    def report(self) -> str:
        """Lines for people: how many of which source, then the first reasons."""
        if not self.total:
            return "no bad records"
        counts = ", ".join(f"{count} of {source}" for source, count in self.by_source.most_common())
        lines = [f"{self.total} draws fell on {len(self.reasons)} bad records ({counts}); others took their place"]
        lines += [f"  {source}: {id}: {reason}" for (source, id), reason in list(self.reasons.items())[:NAMED]]
        more = len(self.reasons) - NAMED
        return "\n".join([*lines, f"  and {more} more"] if more > 0 else lines)


def checked(example: Example | BadRecord, max_objects: int | None, in_memory: bool = False) -> Example:
    """The example. Raises BadRecord if it is one, or if `validate` finds something wrong.

    An example whose frames are `in_memory` need not say where its pictures are. Run lengths are left to
    `mask_of_object`: a step needs few of them, and reading all would take longer than the rest.
    """
    if isinstance(example, BadRecord):
        raise example
    media = dataclasses.replace(example.media, path="frames in memory") if in_memory else example.media
    problems = validate(dataclasses.replace(example, media=media), max_objects, masks=False)
    if problems:
        raise BadRecord(example.source, example.id, "; ".join(map(str, problems)))
    return example


def mask_of_object(thing: Obj, frame: int, size: tuple[int, int]) -> Rle | None:
    """The mask of an object in a frame, None where there is none.

    Raises:
        MaskError: run lengths that are damaged, of another size than the frame, or empty.
    """
    rle = thing.masks.get(frame)
    if rle is None:
        return None
    try:
        if rle.size != tuple(size):
            raise MaskError(f"is {list(rle.size)}, but the media is {list(size)}")
        check(rle)
        if not area(rle):
            raise MaskError("is empty: write null where the object is not visible")
    except MaskError as error:
        raise MaskError(f"mask of object {thing.id!r} in frame {frame}: {error}") from error
    return rle


def as_bad_record(error: Exception, source: object, place: str) -> BadRecord:
    """`place` tells what id an error has none for."""
    if isinstance(error, BadRecord):
        return error
    return BadRecord(str(source), place, str(error) or type(error).__name__)
