"""During training: J&F and mIoU of the masks on a validation source, and pictures of them.

The answer is given and the masks are drawn from its [SEG]s, so that what is measured is the masks alone, fast enough
to do often; whether the model also says the right thing is not looked at. Scores are taken at the size of the target
masks.
"""

import itertools
from collections.abc import Iterator

import cv2
import jax
import numpy as np
from jax.experimental import multihost_utils

from vglamm_jax.data import drawing
from vglamm_jax.data.pack import MASK_IGNORE, Batch
from vglamm_jax.data.pipeline import for_evaluation
from vglamm_jax.eval.davis import boundary_accuracy, region_similarity
from vglamm_jax.train import feed
from vglamm_jax.train.config import TrainConfig
from vglamm_jax.train.state import State, rows_here
from vglamm_jax.train.step import make_masks


class Evaluation:
    """The validation batches of a config, the same ones every time.

    Raises:
      ValueError: `evaluation.every` is set and there is nothing to evaluate on.
    """

    def __init__(self, cfg: TrainConfig, mesh: jax.sharding.Mesh, tokenizer):
        self.cfg, said = cfg, cfg.evaluation
        sources = feed.parts(said.mixture, said.files, cfg.built)
        if not sources:
            raise ValueError(f"evaluation.every={said.every}, but evaluation.mixture and evaluation.files are empty")
        rows = said.batch_size or cfg.batch_size // cfg.accumulate
        self.feed = feed.Feed(cfg, mesh, sources, tokenizer, for_evaluation(cfg.data), rows)
        self.masks = make_masks(cfg, self.feed.place)

    def __call__(self, state: State) -> tuple[dict[str, float], list[np.ndarray]]:
        """Scores by name over all processes, and pictures of this one's first rows, uint8 [H, W, 3]."""
        self.feed.seek(0)
        scores, pictures = [], []
        for local in itertools.islice(self.feed.batches, self.cfg.evaluation.batches):
            logits = rows_here(self.masks(state, self.feed.on_mesh(local)))
            scores += [score for row, target in zip(logits, local.masks) for score in _scores(row, target)]
            wanted = self.cfg.evaluation.samples - len(pictures)
            pictures += [_picture(frames, row) for frames, row in zip(local.sam[:wanted], logits)]
        self.feed.batches.close()
        return _means(np.array(scores, np.float64).reshape(-1, 2)), pictures

    def close(self) -> None:
        self.feed.close()


def _scores(logits: np.ndarray, target: np.ndarray) -> Iterator[tuple[float, float]]:
    """(J, F) of every annotated mask of a row: logits float32 [S, K, h, w] against int8 [S, K, m, m]."""
    for found, wanted in zip(logits.reshape(-1, *logits.shape[2:]), target.reshape(-1, *target.shape[2:])):
        known = wanted != MASK_IGNORE
        if known.any():
            drawn, wanted = _drawn(found, wanted.shape) & known, wanted == 1
            yield region_similarity(drawn, wanted), boundary_accuracy(drawn, wanted)


def _drawn(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The mask, bool, of logits [h, w] brought to a size as answers' masks are: bilinear, then cut at 0."""
    return cv2.resize(logits.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR) > 0


def _means(scores: np.ndarray) -> dict[str, float]:
    """J, F, their mean, and mIoU, which counts each mask alike, from [n, 2] on each process."""
    sums = np.array([*scores.sum(0), len(scores)])
    if jax.process_count() > 1:
        sums = multihost_utils.process_allgather(sums).sum(0)
    if not sums[2]:
        raise ValueError("the evaluation sources have no annotated mask; leave evaluation.every at 0")
    j, f = (float(value / sums[2]) for value in sums[:2])
    return {"eval/j": j, "eval/f": f, "eval/j_and_f": (j + f) / 2, "eval/masks": float(sums[2])}


def _picture(frames: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """The supervised frames uint8 [K, H, W, 3] of a row side by side, masks of logits [S, K, h, w] drawn in."""
    size = frames.shape[1:3]
    painted = [
        drawing.paint(frame, [(_drawn(logits[slot, k], size), drawing.colour(slot)) for slot in range(len(logits))])
        for k, frame in enumerate(frames)
    ]
    return np.concatenate(painted, axis=1)


def batch_frames(batch: Batch) -> int:
    """Frames that any encoder looks at in a batch, counted once for each; none where a cache has taken its pixels."""
    seen = [pixels.shape[1] for pixels in (batch.context, batch.clips, batch.sam) if pixels is not None]
    return batch.ids.shape[0] * sum(seen)
