"""Charades-STA (facts 6.9): sentences and when they happen.

    charades_sta/charades_sta_{train,test}.txt             a line each: <video> <start> <end>##<sentence>
    charades_sta/Charades_v1_480/<video>.mp4

A video is one example, its sentences are turns that stand alone.
"""

from collections.abc import Iterator
from pathlib import Path

from vglamm_jax.data.schema import BadRecord, Example
from vglamm_jax.data.sources.lists import grouped, lines_of
from vglamm_jax.data.sources.moments import Moment, moments_of
from vglamm_jax.data.sources.pictures import guarded, known_split, share
from vglamm_jax.data.sources.registry import WHOLE, Part

SOURCE = "charades_sta"
SPLITS = ("train", "test")
VIDEOS = "charades_sta/Charades_v1_480"
LAYOUT = f"charades_sta/charades_sta_<split>.txt, {VIDEOS}/<video>.mp4"


def examples(root: Path, split: str = "train", *, part: Part = WHOLE) -> Iterator[Example | BadRecord]:
    """Videos in the order of their first line.

    Raises:
        FileNotFoundError: the list of sentences is missing.
        ValueError: no such split.
    """
    root, split = Path(root), known_split(split, SPLITS, SOURCE)
    file = root / f"charades_sta/charades_sta_{split}.txt"
    numbered = enumerate(lines_of(file, LAYOUT), 1)
    by_video = grouped(numbered, by=lambda one: one[1].split(" ")[0], path=file)
    for video, lines in share(by_video.items(), part):
        yield from guarded(SOURCE, video, _video(root, split, video, lines))


def _video(root: Path, split: str, video: str, lines: list[tuple[int, str]]) -> Iterator[Example | BadRecord]:
    moments = []
    for number, line in lines:
        try:
            moments.append(_moment(str(number), line))
        except ValueError:
            yield BadRecord(SOURCE, f"{video}/{number}", f"line {number} is no <video> <start> <end>##<sentence>")
    yield from moments_of(root, SOURCE, split, video, f"{VIDEOS}/{video}.mp4", moments)


def _moment(key: str, line: str) -> Moment:
    when, sentence = line.split("##", 1)
    _, start, end = when.split()
    return Moment(key, sentence, float(start), float(end))
