"""ActivityNet-Captions (facts 6.9): sentences and when they happen.

    activitynet_captions/{train,val_1,val_2,test}.json       {"<video>": {"duration", "timestamps", "sentences"}}
    activitynet/videos/<split>/<video>.{mp4,mkv,webm}

A video is one example, its sentences are turns that stand alone. A missing video is a bad record; the original passes
over it in silence.
"""

from collections.abc import Iterator
from pathlib import Path

from vglamm_jax.data.schema import BadRecord, Example
from vglamm_jax.data.sources.lists import read_map
from vglamm_jax.data.sources.moments import Moment, moments_of
from vglamm_jax.data.sources.pictures import guarded, known_split, share
from vglamm_jax.data.sources.registry import WHOLE, Part
from vglamm_jax.data.sources.videos import find_video

SOURCE = "activitynet_captions"
SPLITS = ("train", "val_1", "val_2", "test")
LAYOUT = "activitynet_captions/<split>.json, activitynet/videos/<split>/<video>.{mp4,mkv,webm}"


def examples(root: Path, split: str = "train", *, part: Part = WHOLE) -> Iterator[Example | BadRecord]:
    """Videos in the file's order.

    Raises:
        FileNotFoundError: the list of sentences is missing.
        ValueError: it is not JSON; no such split.
    """
    root, split = Path(root), known_split(split, SPLITS, SOURCE)
    listed = read_map(root / f"activitynet_captions/{split}.json", LAYOUT)
    for video, entry in share(listed.items(), part):
        yield from guarded(SOURCE, video, _video(root, split, video, entry))


def _video(root: Path, split: str, video: str, entry: dict) -> Iterator[Example | BadRecord]:
    pairs = zip(entry["timestamps"], entry["sentences"], strict=True)
    moments = [Moment(str(i), sentence, float(start), float(end)) for i, ((start, end), sentence) in enumerate(pairs)]
    place = find_video(root, f"activitynet/videos/{split}", video)
    yield from moments_of(root, SOURCE, split, video, place, moments)
