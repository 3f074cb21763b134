"""Moving Things as a random-access data source, and how fast it is."""

import dataclasses
import time
from typing import ClassVar, NamedTuple

import numpy as np

from vglamm_jax.data.schema import Example
from vglamm_jax.data.synthetic.benchmark import DEFAULTS, TASKS, as_example, make_clip, name
from vglamm_jax.data.synthetic.world import Settings


class Record(NamedTuple):
    example: Example  # its media holds no pictures
    frames: np.ndarray  # uint8 [T, H, W, 3]


@dataclasses.dataclass(frozen=True)
class MovingThings:
    """Clips 0 to length - 1 of a split, made when asked for; `task` None: all three tasks in each example.

    A source for the mixture (`data.mixture.Source`): examples with their frames in memory. A value of plain fields:
    it pickles, its repr says everything, and equal ones hold equal clips.
    Each of `renderings` passes over the length has other pixels for the same masks and words.

    Raises:
        ValueError: an unknown task, or nothing to make.
    """

    root: ClassVar[str] = "."  # nothing is read from there
    split: str = "train"
    length: int = 100_000
    seed: int = 0
    task: str | None = None
    renderings: int = 1
    settings: Settings = DEFAULTS

    def __post_init__(self):
        if self.task not in (None, *TASKS) or self.length < 1 or self.renderings < 1:
            raise ValueError(f"need a task of {', '.join(TASKS)} or None, and length and renderings above 0: {self}")

    def __len__(self) -> int:
        return self.length * self.renderings

    def __getitem__(self, index: int) -> Record:
        """Raises IndexError."""
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        rendering, number = divmod(int(index), self.length)
        clip = make_clip(self.split, self.seed, number, self.settings, rendering)
        id = name(self.split, self.seed, number, rendering)
        return Record(as_example(clip, id, self.split, self.task, pictures=False), clip.frames)


def clips_per_second(clips: int = 100, settings: Settings = DEFAULTS, split: str = "train") -> float:
    """Clips, with masks and all texts, that one core makes in a second of its own time."""
    make_clip(split, 0, 0, settings)
    start = time.process_time()
    for index in range(clips):
        make_clip(split, 1, index, settings)
    return clips / (time.process_time() - start)
