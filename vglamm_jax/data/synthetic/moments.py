"""Things and parts of the clip: who does what when, for visual grounding in time."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from vglamm_jax.data.synthetic.expressions import only, shuffled
from vglamm_jax.data.synthetic.language import FORMS, IN_VIEW, Speaker, moment
from vglamm_jax.data.synthetic.paths import STEPS
from vglamm_jax.data.synthetic.scene import Description, Scene
from vglamm_jax.data.synthetic.vocabulary import DIRECTIONS

LASTING = 20  # dense steps, of a phase that is to be found


@dataclasses.dataclass(frozen=True)
class Moment:
    """A thing and a part of the clip: frames first..last, both included."""

    form: str
    text: str
    description: Description
    when: str  # a motion, or "in view"
    thing: int
    frames: tuple[int, int]


def moments(scene: Scene, speaker: Speaker) -> tuple[Moment, ...]:
    """One in each form; about a part of the clip if anything has one that can be named, else about all of it."""
    things, last = range(len(scene.world.things)), scene.world.settings.frames - 1
    parts = [(i, when) for i in things for when in _whens(scene, i)]
    whole = [(i, IN_VIEW) for i in things if span(scene, i, IN_VIEW) == (0, last)]
    somehow = [(i, phase.kind) for i in things for phase in scene.tracks[i].phases if phase.kind != "other"]
    out = []
    for form in FORMS:
        for candidates in (parts, whole, somehow):
            named = _first_named(scene, shuffled(candidates, speaker.rng), speaker.rng)
            if named is not None:
                i, when, meant = named
                text = moment(meant, when, form, speaker)
                out.append(Moment(form, text, meant, when, i, span(scene, i, when)))
                break
    return tuple(out)


def span(scene: Scene, thing: int, when: str) -> tuple[int, int] | None:
    """First and last frame in which a thing is seen doing `when`; None unless that is one stretch of two or more."""
    frames = scene.world.settings.frames
    if when == IN_VIEW:
        seen = np.flatnonzero(scene.layers.seen[thing])
        whole = len(seen) > 1 and seen[-1] - seen[0] == len(seen) - 1
        return (int(seen[0]), int(seen[-1])) if whole else None
    phases = [phase for phase in scene.tracks[thing].phases if phase.kind == when]
    if len(phases) != 1 or phases[0].stop - phases[0].start < LASTING:
        return None
    first = int(np.ceil(phases[0].start * (frames - 1) / STEPS - 0.05))
    last = int(np.floor(phases[0].stop * (frames - 1) / STEPS + 0.05))
    return (first, last) if last > first else None


def _whens(scene: Scene, i: int) -> Iterator[str]:
    """What a thing does for a part of the clip only."""
    one = scene.tracks[i]
    drifts = i in (scene.world.pair or ())  # leaves on one side and comes back on the other
    if len(one.phases) > 1:
        yield from (kind for kind in ("still", *DIRECTIONS) if kind in one.kinds and span(scene, i, kind))
    elif not drifts and not scene.layers.seen[i].all() and span(scene, i, IN_VIEW):
        yield IN_VIEW


def _first_named(scene: Scene, candidates, rng: np.random.Generator):
    for i, when in candidates:
        meant = only(scene, i, rng)
        if meant is not None and span(scene, i, when) is not None:
            return i, when, meant
    return None
