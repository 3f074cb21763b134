"""The training case of a golden folder: the original's losses and gradients against ours (facts section 5).

`stages` gives them to `infer.parity` as further stages. The original computed the case with every encoder and SAM2
in eval mode, hence with the fall-back to multi-masks, without LoRA, and counting padded mask slots.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import numpy as np

from vglamm_jax.convert import engine, tables
from vglamm_jax.data import splice
from vglamm_jax.data.pack import Batch
from vglamm_jax.data.prompts import IGNORE
from vglamm_jax.infer.parity import ROUNDINGS, Stage
from vglamm_jax.infer.parity_case import Case
from vglamm_jax.models.layers import Remat
from vglamm_jax.models.videoglamm import VideoGlamm
from vglamm_jax.train import losses, trainable
from vglamm_jax.train.config import Decoder
from vglamm_jax.train.forward import forward

LOSSES, GRADIENTS = 1e-4, 1e-3  # relative
FLOOR = 1e-6  # of the largest gradient norm: what is below is rounding
FULL = "grad:"  # golden arrays that are whole gradients


@dataclasses.dataclass(frozen=True)
class Settings:
    """The original's training, as far as the case goes."""

    ce_weight: float = 1.0
    bce_weight: float = 2.0
    dice_weight: float = 0.5
    protocol: str = "reference"
    decoder: Decoder = "framewise"
    remat: Remat = True
    trainable: tuple[str, ...] = ("llm", *trainable.PROJECTORS, "text_hidden_fcs", "mask_decoder")


class Trained(NamedTuple):
    losses: dict[str, float]  # by the original's names
    gradients: dict[str, np.ndarray]  # by the original's names of parameters


def stages(case: Case) -> list[Stage]:
    """`loss:*`, `grad_norm:*` and `grad:*` of what the folder has; none without a training case."""
    floor = FLOOR * max(case.said.get("grad_norms", {"": 0.0}).values())
    found = [
        Stage(f"loss:{name}", f"loss:{name}", lambda c, n=name: np.float64(trained(c).losses[n]), LOSSES)
        for name in case.said.get("losses", {})
    ]
    found += [
        Stage(f"grad_norm:{name}", f"grad_norm:{name}", lambda c, n=name: norm(c, n), GRADIENTS, floor=floor)
        for name in case.said.get("grad_norms", {})
    ]
    whole = [key for key in case.golden if key.startswith(FULL)]
    return found + [
        Stage(key, key, lambda c, n=key: trained(c).gradients[n.removeprefix(FULL)], GRADIENTS) for key in whole
    ]


def norm(case: Case, name: str) -> np.floating:
    """0 for what never trains here (`trainable.TABLE` says why), right where the original's is below the floor, too."""
    gradient = trained(case).gradients.get(name, np.zeros(1))
    return np.linalg.norm(gradient.astype(np.float64))


@functools.lru_cache(maxsize=1 + ROUNDINGS)  # a case, and those it is compared with where weights are rounded
def trained(case: Case, cfg: Settings = Settings()) -> Trained:
    """Losses and gradients of one pass over the batch."""
    train, frozen = trainable.split(case.model, cfg)
    metrics, gradients = _gradients(train, frozen, batch(case), cfg)
    names = engine.to_torch(gradients, rows(case.model, cfg))
    return Trained({name: float(value) for name, value in metrics.items()}, dict(names))


@functools.partial(jax.jit, static_argnames="cfg")
def _gradients(train, frozen, batch: Batch, cfg: Settings):
    def loss(train):
        sums, _ = forward(trainable.join(train, frozen), batch, cfg, multimask_fallback=True)
        return losses.total(sums, cfg)

    gradients, metrics = jax.grad(loss, has_aux=True)(train)
    return metrics, gradients


def rows(model: VideoGlamm, cfg: trainable.Choice) -> list[tables.Row]:
    """The rows of the conversion table for what trains: gradients have their parameters' names and layouts."""
    table = tables.videoglamm(model.cfg)
    return [row for row in table if trainable.group_of(row.stacked_path, cfg.trainable)]


def batch(case: Case) -> Batch:
    """The golden batch: the video as it is, then backwards for all three encoders."""
    golden, frames = case.golden, case.golden["train_sam_frame_index"]
    texts = [_text(case, row) for row in range(len(golden["train_input_ids"]))]
    length, slots = max(len(text.ids) for text in texts), golden["train_masks"].shape[1]
    seg = np.stack([_padded(np.flatnonzero(text.seg)[:slots], slots, 0) for text in texts])
    both = lambda x: np.stack([x, x[::-1]])  # noqa: E731
    return Batch(
        ids=np.stack([_padded(text.ids, length, case.cfg.pad_token_id) for text in texts]),
        visual=np.stack([_padded(text.visual, length, -1) for text in texts]),
        labels=np.stack([_padded(text.labels, length, IGNORE) for text in texts]),
        lengths=np.array([len(text.ids) for text in texts], np.int32),
        seg_positions=seg.astype(np.int32),
        seg_valid=np.stack([np.arange(slots) < text.seg.sum() for text in texts]),
        masks=golden["train_masks"],
        context=both(case.context),
        clips=both(case.video),
        sam=both(case.sam2_pixels[frames]),
        is_video=np.ones(len(texts), bool),
        draw=np.arange(len(texts)),
    )


class _Text(NamedTuple):
    ids: np.ndarray
    visual: np.ndarray
    labels: np.ndarray
    seg: np.ndarray  # bool, the next id is [SEG]


def _text(case: Case, row: int) -> _Text:
    there = case.golden["train_attention_mask"][row]
    ids, labels = (case.golden[name][row][there] for name in ("train_input_ids", "train_labels"))
    expanded, visual, seg = splice.expand(ids, case.cfg.video_tokens, case.cfg.seg_token_id)
    return _Text(expanded, visual, splice.expand_labels(ids, labels, case.cfg.video_tokens), seg)


def _padded(values: np.ndarray, length: int, fill: int) -> np.ndarray:
    return np.pad(values, (0, length - len(values)), constant_values=fill)
