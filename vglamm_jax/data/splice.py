"""Where visual rows go in a prompt: placeholder ids become a run of visual rows (facts 4.5, 4.6).

A prompt holds one contiguous group of placeholder ids. Expanding it gives, per position, the text id
to embed or the visual row to copy, so that the model fills a batch with two gathers.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vglamm_jax.data.prompts import IGNORE, PLACEHOLDER_ID, seg_mask


@dataclasses.dataclass(frozen=True)
class PromptBatch:
    """Prompts of different lengths, padded on the LEFT so that all of them end in the last column."""

    ids: np.ndarray  # int32 [batch, length], pad id where a visual row or padding stands
    visual: np.ndarray  # int32 [batch, length], row of the visual tokens, -1 where text stands
    predicts_seg: np.ndarray  # bool [batch, length], the next id is [SEG]
    lengths: np.ndarray  # int32 [batch], without padding

    @property
    def padding(self) -> np.ndarray:
        """int32 [batch], padded positions in front of each prompt."""
        return self.ids.shape[1] - self.lengths


def expand(ids: Sequence[int], rows: int, seg_token_id: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids [n] with placeholders -> (ids, visual, predicts_seg), each [n - placeholders + rows].

    A prompt without placeholders stays as it is. Raises ValueError when placeholders are not one
    contiguous group, or when there are some but `rows` is 0.
    """
    ids = np.asarray(ids, np.int32)
    text = np.full(ids.shape, -1, np.int32)
    return (
        _insert(ids, ids, np.zeros(rows, np.int32)),
        _insert(ids, text, np.arange(rows, dtype=np.int32)),
        _insert(ids, seg_mask(ids, seg_token_id), np.zeros(rows, bool)),
    )


def expand_labels(ids: Sequence[int], labels: Sequence[int], rows: int) -> np.ndarray:
    """Labels [n] of ids [n] -> int32 [n - placeholders + rows], -100 for visual rows. Raises ValueError as `expand`."""
    return _insert(np.asarray(ids), np.asarray(labels, np.int32), np.full(rows, IGNORE, np.int32))


def _insert(ids: np.ndarray, values: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """`values` with `middle` in place of the placeholders of `ids`."""
    places = np.flatnonzero(ids == PLACEHOLDER_ID)
    if not places.size:
        return values
    first, last = places[0], places[-1]
    if last - first + 1 != places.size:
        raise ValueError("a prompt may hold one video or image only: its placeholders must stand together")
    if not len(middle):
        raise ValueError("the prompt has a place for a video or image, but none is given")
    return np.concatenate([values[:first], middle, values[last + 1 :]])


def left_pad(prompts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], length: int, pad_id: int) -> PromptBatch:
    """A batch of expanded prompts, each padded on the left to `length` positions."""
    lengths = np.array([len(ids) for ids, _, _ in prompts], np.int32)
    if lengths.max() > length:
        raise ValueError(f"a prompt of {lengths.max()} positions does not fit into {length}")

    def pad(values: np.ndarray, fill) -> np.ndarray:
        return np.concatenate([np.full(length - len(values), fill, values.dtype), values])

    ids, visual, seg = zip(*prompts)
    return PromptBatch(
        ids=np.stack([pad(v, pad_id) for v in ids]),
        visual=np.stack([pad(v, -1) for v in visual]),
        predicts_seg=np.stack([pad(v, False) for v in seg]),
        lengths=lengths,
    )
