"""One module a data set. Each has

    def examples(root: Path, split: str, **options) -> Iterator[Example | BadRecord]

which reads lazily, in an order that depends on the files' content alone, and yields a `BadRecord` in place of a record
that cannot be used (a generator that raises could not go on). `good` separates the two.
"""

from collections.abc import Callable, Iterable, Iterator

from vglamm_jax.data.schema import BadRecord, Example


def good(
    records: Iterable[Example | BadRecord], on_bad: Callable[[BadRecord], None] | None = None
) -> Iterator[Example]:
    """The examples alone. Bad records go to `on_bad`; without it (strict) the first one is raised."""
    for record in records:
        if not isinstance(record, BadRecord):
            yield record
        elif on_bad is None:
            raise record
        else:
            on_bad(record)
