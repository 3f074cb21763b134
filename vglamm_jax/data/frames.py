"""Which frames the dual encoder sees, and which the mask decoder learns from (facts 3.1, 5.7 and 6).

example          frames of the media that are meant: 0 1 2 ... 59
seen             0 4 8 12 ... 59            "even", 16 of them
supervised       8 31                       K of those that are annotated
"""

import dataclasses
from collections.abc import Iterable, Sequence, Set
from typing import Literal, NamedTuple

import numpy as np

from vglamm_jax.config import config
from vglamm_jax.data.schema import BadRecord, Example
from vglamm_jax.data.video import encoder_frames


@config
class FrameRule:
    """How a source's frames are chosen.

    seen: "even" spreads them over the clip (MeViS, the GCG sets), "second" takes one a second, then thins evenly
    (VideoInstruct, temporal), "around" a visible frame, its neighbours and two others (Refer-VOS), "visible" one
    frame of each object and random others (BURST GCG), "random" any, in order (YTVOS-GCG, which the original shuffles),
    "grounding" the first of each second, thinned to 40 and these evenly (VidSTG's and HC-STVG's annotations).
    count: at most so many different frames; 5 in the original's "around", "visible" and "random". None: all the model
    takes; those missing repeat the last one.
    supervised: "random" K annotated ones that show each object if they can; "even" spreads them; "visible" does so over
    frames with a mask that is not empty (VidSTG).
    """

    seen: Literal["even", "second", "around", "visible", "random", "grounding"] = "even"
    count: int | None = None
    supervised: Literal["random", "even", "visible"] = "random"


DEFAULT = FrameRule()

# How the original does it, by the name sources give in meta["frames_rule"] (sources/frames_rules.py).
ORIGINAL = {
    "around": FrameRule(seen="around", count=5, supervised="even"),
    "even": FrameRule(seen="even", supervised="even"),
    "second": FrameRule(seen="second", supervised="even"),
    "visible": FrameRule(seen="visible", count=5, supervised="even"),
    "random": FrameRule(seen="random", count=5, supervised="even"),
    "annotated": FrameRule(seen="even", supervised="visible"),
    "moment": FrameRule(seen="even", supervised="visible"),
    "all": FrameRule(seen="even", supervised="even"),
    "grounding": FrameRule(seen="grounding", supervised="even"),
    "ten": FrameRule(seen="even", count=10, supervised="even"),
}
GROUNDED = 40  # frames the original's evaluation of grounding in time looks at


def rule_for(example: Example, rule: FrameRule | None) -> FrameRule:
    """The rule given, else the one the example's source names, else the default.

    Raises:
        BadRecord: a name that is not in `ORIGINAL`.
    """
    name = example.meta.get("frames_rule")
    if rule is not None or name is None:
        return rule or DEFAULT
    if name not in ORIGINAL:
        known = ", ".join(ORIGINAL)
        raise BadRecord(example.source, example.id, f"meta.frames_rule is {name!r}: write one of {known}")
    return ORIGINAL[name]


class Frames(NamedTuple):
    seen: np.ndarray  # int64 [n], different ones, in the order of showing
    supervised: np.ndarray  # int64 [K]


@dataclasses.dataclass(frozen=True)
class Slot:
    """What is known of the mask of one [SEG]."""

    annotated: frozenset[int]  # frames
    visible: frozenset[int]  # those of them where the mask is not empty


def slots(example: Example, objects: Iterable[Sequence[str]]) -> list[Slot]:
    """One for each [SEG], given the ids of its objects. Without objects it is empty everywhere."""
    out = []
    for ids in objects:
        things = [example.object(id) for id in ids]
        annotated = set.intersection(*(set(t.masks) for t in things)) if things else set(range(example.media.length))
        visible = {frame for frame in annotated if any(t.masks[frame] is not None for t in things)}
        out.append(Slot(frozenset(annotated), frozenset(visible)))
    return out


def choose(
    rule: FrameRule,
    window: np.ndarray,
    fps: float,
    slots: Sequence[Slot],
    most: int,
    supervised: int,
    rng: np.random.Generator,
) -> Frames:
    """From the frames that are meant, int64 [N] increasing, at most `most` to be seen and `supervised` to learn from.

    Fewer annotated frames than `supervised`: their list is repeated, as in the original. Frames of the window that are
    annotated are taken when none of those seen is.
    """
    seen = _seen(rule, window, fps, slots, min(rule.count or most, most), rng)
    return Frames(seen, _repeated(_supervised(rule, seen, window, slots, supervised, rng), supervised))


def reversed_in_time(frames: Frames) -> Frames:
    return Frames(frames.seen[::-1], frames.supervised[::-1])


def padded(seen: np.ndarray, count: int) -> np.ndarray:
    """Positions in `seen` that fill the encoder, int64 [count]: the last frame repeated (facts 3.1)."""
    return encoder_frames(len(seen), count)


def spread(frames: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of them, evenly."""
    return frames if len(frames) <= count else frames[np.linspace(0, len(frames) - 1, count, dtype=np.int64)]


def grounding_frames(window: np.ndarray, fps: float) -> np.ndarray:
    """The first frame of each second, and at most 40: number j * n // 40 of the n (facts 6.17). They are evaluated."""
    first = window[np.unique(np.floor(window / fps + 1e-9), return_index=True)[1]]
    return first if len(first) <= GROUNDED else first[np.arange(GROUNDED) * len(first) // GROUNDED]


def frame_numbers(span: tuple[float, float], times: np.ndarray) -> tuple[int, int]:
    """First and last of the frames at `times` [n] inside a span of seconds; the nearest one if there is none."""
    inside = np.flatnonzero((times >= span[0]) & (times <= span[1]))
    if len(inside):
        return int(inside[0]), int(inside[-1])
    nearest = int(np.abs(times - (span[0] + span[1]) / 2).argmin())
    return nearest, nearest


def _seen(rule, window, fps, slots, count, rng) -> np.ndarray:
    if rule.seen == "second":
        return spread(window[:: max(1, round(fps))], count)
    if rule.seen == "grounding":
        return spread(grounding_frames(window, fps), count)
    if rule.seen == "random":
        return _fill(window, [], count, rng)
    if rule.seen == "visible":
        shown = [_inside(slot.visible, window) for slot in slots]
        return _fill(window, [int(rng.choice(frames)) for frames in shown if len(frames)], count, rng)
    if rule.seen == "around":
        shown = _inside(set().union(*(slot.visible for slot in slots)), window) if slots else window
        return _around(window, int(rng.choice(shown if len(shown) else window)), count, rng)
    return spread(window, count)


def _around(window: np.ndarray, anchor: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """The anchor, a frame one to three places before and after it, and others outside that span (facts 6.6)."""
    place = int(np.searchsorted(window, anchor))
    before, after = max(0, place - int(rng.integers(1, 4))), min(len(window) - 1, place + int(rng.integers(1, 4)))
    near = list(dict.fromkeys(window[[place, before, after]].tolist()))[:count]
    outside = np.concatenate([window[:before], window[after + 1 :]])
    wanted = min(count - len(near), len(outside))
    others = rng.choice(outside, wanted, replace=False).tolist() if wanted else []
    return _fill(window, near + others, count, rng)


def _fill(window: np.ndarray, chosen: Iterable[int], count: int, rng: np.random.Generator) -> np.ndarray:
    chosen = list(dict.fromkeys(chosen))[:count]
    rest = np.setdiff1d(window, chosen)
    missing = min(count - len(chosen), len(rest))
    more = rng.choice(rest, missing, replace=False) if missing else []
    return np.sort(np.array([*chosen, *more], np.int64))


def _supervised(rule, seen, window, slots, count, rng) -> np.ndarray:
    if not slots:
        return seen[:1]
    annotated = set().union(*(slot.visible if rule.supervised == "visible" else slot.annotated for slot in slots))
    candidates = _inside(annotated, seen)
    if not len(candidates):
        candidates = _inside(annotated, window)
    if not len(candidates):
        return seen[:1]
    if rule.supervised != "random":
        return spread(candidates, count)
    return _showing_all(candidates, slots, count, rng)


def _showing_all(candidates: np.ndarray, slots: Sequence[Slot], count: int, rng: np.random.Generator) -> np.ndarray:
    """Random ones; first, for each object not yet shown, one that shows it."""
    chosen: list[int] = []
    for i in rng.permutation(len(slots)):
        shown = _inside(slots[i].visible, candidates)
        if len(chosen) < count and len(shown) and not slots[i].visible & set(chosen):
            chosen.append(int(rng.choice(shown)))
    return _fill(candidates, chosen, count, rng)


def _inside(frames: Set[int], window: np.ndarray) -> np.ndarray:
    return np.array([frame for frame in window.tolist() if frame in frames], np.int64)


def _repeated(frames: np.ndarray, count: int) -> np.ndarray:
    return frames[np.arange(count) % len(frames)] if count else frames[:0]
