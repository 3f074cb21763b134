"""Batches of static shape, images and videos side by side: what a training step eats.

A row is one conversation about one video or image. Sizes: B rows, L positions (one of a few lengths), F frames of the
dual encoder, S mask slots, K frames of the mask decoder, masks of m x m.

Pixels are uint8 and normalised on the device (`preprocess.normalised`): at full size with K = 4 a row is 20 MB instead
of 81 MB of float32, so four times as many wait in the same memory. An image stands in `context[:, 0]`, the rest of its
row is 0. The table of visual rows a step builds is [B, video_tokens + image_tokens, width]: `see_video` of the row,
then `see_image` of its first context frame; `visual` points into it, so that no row needs an `if`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vglamm_jax.config import VideoGlammConfig, config
from vglamm_jax.data import preprocess
from vglamm_jax.data.conversation import Tokens
from vglamm_jax.data.frames import padded
from vglamm_jax.data.prompts import IGNORE

MASK_IGNORE = -1
_PAD = {"visual": -1, "labels": IGNORE}


class Batch(NamedTuple):
    """Arrays only, hence a pytree. Without the leading axis the same names hold one row."""

    ids: np.ndarray  # int32 [B, L], pad id where a visual row or padding stands; padded on the right
    visual: np.ndarray  # int32 [B, L], row of the visual table, -1 = text or padding
    labels: np.ndarray  # int32 [B, L], -100 = not learnt; position i holds the id at i (the loss shifts)
    lengths: np.ndarray  # int32 [B], positions without padding: attend to those below
    seg_positions: np.ndarray  # int32 [B, S], the position whose hidden state predicts the slot's [SEG]
    seg_valid: np.ndarray  # bool [B, S], the slot is in use
    masks: np.ndarray  # int8 [B, S, K, m, m], 1 inside, 0 outside, -1 not annotated, ignored or slot not in use
    context: np.ndarray  # uint8 [B, F, C, C, 3], frames as CLIP sees them; F = 0 without that tower
    clips: np.ndarray  # uint8 [B, F, V, V, 3], frames as InternVideo2 sees them, in order; F = 0 without that tower
    sam: np.ndarray  # uint8 [B, K, M, M, 3], frames of `masks` as SAM2 sees them
    is_video: np.ndarray  # bool [B]
    draw: np.ndarray  # int64 [B], number of the draw in the stream


@config
class PackConfig:
    """Static sizes of a batch, besides those of the model.

    lengths: allowed L, increasing; a batch takes the shortest that fits its longest row. Each costs one compilation.
    slots: mask slots a row, the original's 4. frames: K, the frames a row is supervised on (1, 4, 8; the original's
    num_frames_for_sam). mask_size: side of the target masks, 256 being what the mask decoder puts out.
    """

    lengths: tuple[int, ...]
    slots: int = 4
    frames: int = 1
    mask_size: int = 256


def pack(
    tokens: Tokens,
    seen: Sequence[np.ndarray],
    sam: Sequence[np.ndarray],
    masks: np.ndarray,
    annotated: np.ndarray,
    is_video: bool,
    draw: int,
    cfg: VideoGlammConfig,
    sizes: PackConfig,
    ignored: np.ndarray | None = None,
) -> Batch:
    """One row, its L still its own. `seen`: the different frames, uint8 [H, W, 3]; `sam`: K of them.

    `masks` is bool [n, K, m, m] and `annotated` bool [n, K], for the first n slots. `ignored`, bool [m, m]: pixels that
    count neither as inside nor as outside in any of them (facts 5.3, 6.4).
    """
    count = min(len(masks), sizes.slots)
    target = np.full((sizes.slots, sizes.frames, sizes.mask_size, sizes.mask_size), MASK_IGNORE, np.int8)
    target[:count] = np.where(annotated[:count, :, None, None], masks[:count], MASK_IGNORE)
    if ignored is not None:
        target[..., ignored] = MASK_IGNORE
    positions, valid = np.zeros(sizes.slots, np.int32), np.arange(sizes.slots) < count
    positions[:count] = tokens.seg[:count]
    context, clips = _encoder_frames(seen, is_video, cfg)
    return Batch(
        ids=np.where(tokens.visual < 0, tokens.ids, cfg.pad_token_id).astype(np.int32),
        visual=tokens.visual,
        labels=tokens.labels,
        lengths=np.int32(len(tokens.ids)),
        seg_positions=positions,
        seg_valid=valid,
        masks=target,
        context=context,
        clips=clips,
        sam=_each(preprocess.sam2_resized, sam, cfg.sam2.image_size),
        is_video=np.bool_(is_video),
        draw=np.int64(draw),
    )


def collate(rows: Sequence[Batch], lengths: Sequence[int], pad_id: int) -> Batch:
    """Rows of `pack` -> a batch of the shortest allowed length."""
    length = bucket(max(int(row.lengths) for row in rows), lengths)
    padded_rows = [_with_length(row, length, pad_id) for row in rows]
    return Batch(*(np.stack(column) for column in zip(*padded_rows)))


def bucket(length: int, lengths: Sequence[int]) -> int:
    """The shortest of `lengths` that holds it. Raises ValueError if none does."""
    for allowed in lengths:
        if length <= allowed:
            return allowed
    raise ValueError(f"a row of {length} positions is longer than {lengths[-1]}, the longest allowed")


def lengthened(batch: Batch, length: int, pad_id: int) -> Batch:
    """The batch with L = `length`, no shorter than it is: processes of one step must agree on the longest of theirs."""
    return _with_length(batch, length, pad_id)


def _with_length(batch: Batch, length: int, pad_id: int) -> Batch:
    if length < batch.ids.shape[-1]:
        raise ValueError(f"a batch of {batch.ids.shape[-1]} positions cannot be cut to {length}")
    out = {}
    for name in ("ids", "visual", "labels"):
        values = getattr(batch, name)
        widths = [(0, 0)] * (values.ndim - 1) + [(0, length - values.shape[-1])]
        out[name] = np.pad(values, widths, constant_values=_PAD.get(name, pad_id))
    return batch._replace(**out)


def _encoder_frames(seen: Sequence[np.ndarray], is_video: bool, cfg: VideoGlammConfig) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [F, C, C, 3] and [F, V, V, 3]. An image is one context frame and no clip."""
    context = _zeros(cfg.frames if cfg.encoders != "video" else 0, cfg.clip.image_size)
    clips = _zeros(cfg.frames if cfg.encoders != "image" else 0, cfg.internvideo2.image_size)
    places = padded(np.arange(len(seen)), cfg.frames) if is_video else np.zeros(1, np.int64)
    if len(context):
        context[: len(places)] = _each(preprocess.clip_resized, seen, cfg.clip.image_size)[places]
    if len(clips) and is_video:
        clips[:] = _each(preprocess.internvideo2_resized, seen, cfg.internvideo2.image_size)[places]
    return context, clips


def _each(resize, frames: Sequence[np.ndarray], size: int) -> np.ndarray:
    """Frames that are there twice are resized once."""
    resized = {id(frame): resize(frame, size) for frame in {id(frame): frame for frame in frames}.values()}
    return np.stack([resized[id(frame)] for frame in frames])


def _zeros(count: int, size: int) -> np.ndarray:
    return np.zeros((count, size, size, 3), np.uint8)
