"""Records that cannot be used: what makes one, and the account of those that were passed over."""

import collections
import dataclasses
import logging
from collections.abc import Iterable

from vglamm_jax.data.check import validate
from vglamm_jax.data.markup import MarkupError
from vglamm_jax.data.masks import MaskError
from vglamm_jax.data.media import VideoError
from vglamm_jax.data.prompts import PromptError
from vglamm_jax.data.schema import BadRecord, Example, SchemaError

log = logging.getLogger(__name__)

# Errors that a record is to blame for. Anything else is ours and stops the run.
CAUSES = (BadRecord, SchemaError, VideoError, MaskError, MarkupError, PromptError, OSError)
NAMED = 20  # reasons written out in a report


class DataError(ValueError):
    """A source with nothing usable in it."""


class BadRecords:
    """How many records were passed over, and why. A record drawn again counts again, but is reported once."""

    def __init__(self):
        self.total = 0
        self.reasons: dict[tuple[str, str], str] = {}
        self.by_source: collections.Counter[str] = collections.Counter()

    def add(self, records: Iterable[BadRecord]) -> None:
        """Counts them, and logs each one that is new."""
        for record in records:
            self.total += 1
            self.by_source[record.source] += 1
            if (record.source, record.id) not in self.reasons:
                self.reasons[record.source, record.id] = record.reason
                log.warning("passed over %s", record)

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

    An example whose frames are `in_memory` need not say where its pictures are.
    """
    if isinstance(example, BadRecord):
        raise example
    media = dataclasses.replace(example.media, path="frames in memory") if in_memory else example.media
    problems = validate(dataclasses.replace(example, media=media), max_objects)
    if problems:
        raise BadRecord(example.source, example.id, "; ".join(map(str, problems)))
    return example


def as_bad_record(error: Exception, source: object, place: str) -> BadRecord:
    """`place` tells what id an error has none for."""
    if isinstance(error, BadRecord):
        return error
    return BadRecord(str(source), place, str(error) or type(error).__name__)
