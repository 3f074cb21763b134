"""Refer-YouTube-VOS (facts 6.6 and 6.17): expressions of one object each, label pictures for the training videos.

    refer_youtube_vos/meta_expressions/{train,valid,test}/meta_expressions.json
    refer_youtube_vos/{train,valid,test}/JPEGImages/<video>/<frame>.jpg
    refer_youtube_vos/train/Annotations/<video>/<frame>.png, refer_youtube_vos/train/meta.json       categories

Masks of valid and test are kept by the challenge: turns without an answer, for evaluation. `valid` are the videos that
are not in test (202; train has 3471, test 305).
"""

from collections.abc import Iterator
from pathlib import Path

from vglamm_jax.data.schema import BadRecord, Example
from vglamm_jax.data.sources.expressions import LabelFolder, Per, label_records
from vglamm_jax.data.sources.pictures import known_split
from vglamm_jax.data.sources.registry import WHOLE, Part

SOURCE = "refer_youtube_vos"
SPLITS = ("train", "valid", "test")


def examples(
    root: Path, split: str = "train", *, per: Per = "video", part: Part = WHOLE
) -> Iterator[Example | BadRecord]:
    """In the order of meta_expressions.json; `per` as in `expressions`.

    Raises:
        FileNotFoundError: meta_expressions.json is missing.
        ValueError: it is not JSON; no such split.
    """
    folder = LabelFolder(Path(root), "refer_youtube_vos", SOURCE, known_split(split, SPLITS, SOURCE))
    videos = folder.videos(split)
    if split == "valid":
        test = folder.videos("test")
        videos = {name: video for name, video in videos.items() if name not in test}
    yield from label_records(folder, videos, split == "train", per, part)
