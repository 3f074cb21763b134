"""A mixture as a config says it: data sets by name, and how much of each.

MIXTURE = (Share(names=("mevis",)), Share(names=("refcoco", "refcoco+"), weight=2.0))
parts(MIXTURE, built="built")            # data sets written by `vglamm data build NAME --out built`
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from vglamm_jax.config import config
from vglamm_jax.data.builders.built import BuiltSource
from vglamm_jax.data.frames import FrameRule
from vglamm_jax.data.mixture import Part, Source
from vglamm_jax.data.sources.registry import source_named
from vglamm_jax.data.synthetic import MovingThings

MOVING_THINGS = "moving_things"


@config
class Share:
    """Data sets that share one weight: equally, or by their numbers of examples (`by_length`).

    names: of `sources.registry.SOURCES`, or "moving_things", which needs no files.
    frames: None takes the rule that the data set names, the original's.
    """

    names: tuple[str, ...]
    weight: float = 1.0
    by_length: bool = False
    split: str = "train"
    frames: FrameRule | None = None


def parts(
    mixture: Sequence[Share], built: str | Path = "built", opened: Callable[[str, str], Source] | None = None
) -> list[Part]:
    """What `pipeline.Batches` mixes. `opened(name, split)` may give sources of another kind.

    Raises:
        FileNotFoundError: a data set was not built; names the command that does.
        ValueError: an unknown name, or a share without names.
    """
    out = []
    for share in mixture:
        if not share.names:
            raise ValueError("a share of the mixture names no data set: remove it")
        found = [opened(name, share.split) if opened else source(name, share.split, built) for name in share.names]
        sizes = [len(one) if share.by_length else 1 for one in found]
        out += [Part(one, share.weight * size / sum(sizes), share.frames) for one, size in zip(found, sizes)]
    return out


def source(name: str, split: str, built: str | Path) -> Source:
    """Moving Things, or a built data set."""
    if name == MOVING_THINGS:
        return MovingThings(split=split)
    source_named(name)
    return BuiltSource(built, name, split)
