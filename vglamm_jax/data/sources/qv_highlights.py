"""QVHighlights (facts 6.9): queries, each with one or more windows of time.

    qv_highlights/highlight_{train,val,test}_release.jsonl         {"qid", "vid", "query", "relevant_windows"}
    qv_highlights/videos/<vid>.mp4

A query is one example: its longest window is the answer (the first of equals), the others are in
meta["ignored_windows"], in seconds, and the pipeline shows none of their frames. (The original compares windows
after rounding them to frames, so that nearly equal ones may swap.) The windows of test are not published.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from vglamm_jax.data.schema import BadRecord, Example
from vglamm_jax.data.sources import turns
from vglamm_jax.data.sources.lists import lines_of
from vglamm_jax.data.sources.moments import Moment, example, within
from vglamm_jax.data.sources.pictures import guarded, known_split, share
from vglamm_jax.data.sources.registry import WHOLE, Part
from vglamm_jax.data.sources.videos import file_media

SOURCE = "qv_highlights"
SPLITS = ("train", "val", "test")
LAYOUT = "qv_highlights/highlight_<split>_release.jsonl, qv_highlights/videos/<vid>.mp4"


def examples(root: Path, split: str = "train", *, part: Part = WHOLE) -> Iterator[Example | BadRecord]:
    """Queries in the file's order.

    Raises:
        FileNotFoundError: the list of queries is missing.
        ValueError: no such split.
    """
    root, split = Path(root), known_split(split, SPLITS, SOURCE)
    lines = lines_of(root / f"qv_highlights/highlight_{split}_release.jsonl", LAYOUT)
    for number, line in share(enumerate(lines, 1), part):
        yield from guarded(SOURCE, f"line {number}", _query(root, split, line))


def _query(root: Path, split: str, line: str) -> Iterator[Example]:
    row = json.loads(line)
    id, query = str(row["qid"]), turns.sentence(row["query"])
    media = file_media(root, f"qv_highlights/videos/{row['vid']}.mp4")
    if split == "test":
        turn = turns.unanswered(turns.locate(query, (0, 0)))
        yield example(SOURCE, split, id, media, [turn])
        return
    windows = [(float(start), float(end)) for start, end in row["relevant_windows"]]
    longest = max(windows, key=lambda window: window[1] - window[0])
    span = within(Moment(id, query, *longest), media.length / media.fps)
    others = [list(window) for window in windows if window != longest]
    yield example(SOURCE, split, id, media, [turns.locate(query, span)], ignored_windows=others)
