"""What `Example.meta` tells the pipeline; everything else in it is the source's own business.

"weights": [0.45, 0.45, 0.1]             of turns that stand alone: how likely each is drawn, one a turn
"ignore": {"size": ..., "counts": ...}   a COCO RLE: pixels that count neither as inside nor as outside (facts 6.4)
"ignored_windows": [[0.0, 4.0], ...]     seconds none of whose frames are shown (facts 6.9)
"frames_rule": "around"                  how the source's frames are chosen, a name of `frames.ORIGINAL`
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from vglamm_jax.data.fields import SIZE, SPAN, Problem, short
from vglamm_jax.data.frames import ORIGINAL
from vglamm_jax.data.masks import MaskError, as_rle, decode
from vglamm_jax.data.schema import Example, Media


def weights(example: Example) -> np.ndarray | None:
    """Float64 [turns], None where all are equally likely."""
    found = example.meta.get("weights")
    return None if found is None else np.asarray(found, np.float64)


def ignored_pixels(example: Example) -> np.ndarray | None:
    """Bool [H, W], None where all count. Raises MaskError for damaged run lengths."""
    found = example.meta.get("ignore")
    if found is None:
        return None
    try:
        return decode(as_rle(found, example.media.size), example.media.size)
    except MaskError as error:
        raise MaskError(f"meta.ignore: {error}") from error


def shown(example: Example, window: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The frames of `window`, int64 [N], that may be shown; `times` are those of all frames, in seconds.

    Frames within the span a turn is about stay, whatever is ignored.
    """
    at = times[window]
    hidden = _inside(example.meta.get("ignored_windows") or (), at)
    answers = [turn.time_span for turn in example.turns if turn.time_span is not None]
    return window[~hidden | _inside(answers, at)]


def problems(example: Example, masks: bool = True) -> Iterator[Problem]:
    """What is wrong with these entries of `meta`; run lengths are read only with `masks`."""
    meta = example.meta
    if meta.get("weights") is not None:
        yield from _weights(meta["weights"], example)
    if meta.get("ignore") is not None:
        yield from _ignore(meta["ignore"], example.media, masks)
    if meta.get("ignored_windows") is not None:
        yield from _windows(meta["ignored_windows"])
    rule = meta.get("frames_rule")
    if rule is not None and (not isinstance(rule, str) or rule not in ORIGINAL):
        yield Problem("meta.frames_rule", f"is {short(rule)}", f"write one of {', '.join(ORIGINAL)}, or leave it out")


def _weights(found: Any, example: Example) -> Iterator[Problem]:
    fix = "write a number of 0 or more for each turn, one of them above 0, or leave it out"
    if not isinstance(found, list | tuple) or not all(map(_odds, found)) or (found and sum(found) <= 0):
        yield Problem("meta.weights", f"is {short(found)}", fix)
    elif len(found) != len(example.turns):
        yield Problem("meta.weights", f"has {len(found)} numbers for {len(example.turns)} turns", fix)
    elif not example.independent:
        yield Problem("meta.weights", "is there, but all turns are used", 'write "independent": true, or leave it out')


def _odds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _ignore(found: Any, media: Media, masks: bool) -> Iterator[Problem]:
    fix = 'write one COCO RLE, {"size": [height, width], "counts": ...}, of the size of the media'
    size = found.get("size") if isinstance(found, Mapping) else None
    if not SIZE.fits(size) or tuple(size) != tuple(media.size):
        yield Problem("meta.ignore", f"is {short(found)}", fix)
    elif masks:
        try:
            as_rle(found, media.size)
        except MaskError as error:
            yield Problem("meta.ignore", str(error), fix)


def _windows(found: Any) -> Iterator[Problem]:
    fits = isinstance(found, list | tuple) and all(SPAN.fits(one) and 0 <= one[0] < one[1] for one in found)
    if not fits:
        yield Problem("meta.ignored_windows", f"is {short(found)}", "write [[start, end], ...] in seconds, later last")


def _inside(spans, times: np.ndarray) -> np.ndarray:
    inside = np.zeros(len(times), bool)
    for start, end in spans:
        inside |= (times >= start) & (times < end)
    return inside
