"""VidSTG-GCG (facts 6.15): dense captions of two related objects; "val" is part of the GCG evaluation.

vidstg_gcg/<split>_captions/<video>.json and vidstg_gcg/<split>/<video>/{frames,masks}, see `captioned_frames`
"""

from collections.abc import Iterator
from pathlib import Path

from vglamm_jax.data.prompts import Protocol
from vglamm_jax.data.schema import BadRecord, Example
from vglamm_jax.data.sources.captioned_frames import captioned
from vglamm_jax.data.sources.pictures import known_split
from vglamm_jax.data.sources.registry import WHOLE, Part

SOURCE = "vidstg_gcg"
SPLITS = ("train", "val", "test")


def examples(
    root: Path, split: str = "train", *, protocol: Protocol = "default", part: Part = WHOLE
) -> Iterator[Example | BadRecord]:
    """Sorted by video; protocol="reference" keeps only the first object of each phrase.

    Raises:
        FileNotFoundError: the folder of captions is missing.
        ValueError: no such split.
    """
    yield from captioned(Path(root), SOURCE, "vidstg_gcg", known_split(split, SPLITS, SOURCE), protocol, part)
