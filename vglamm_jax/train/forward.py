"""From a batch to its losses: look, read, point, draw, compare. Read `forward` first.

The towers and SAM2's image encoder are frozen: `encode` is all that is seen of them, so its result may as well come
from a cache on disk. Everything after it is differentiable in whatever parameters the caller differentiates.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
from einops import rearrange

from vglamm_jax.data.pack import Batch
from vglamm_jax.data.preprocess import normalised
from vglamm_jax.models.adapters import visual_tokens
from vglamm_jax.models.layers import Remat
from vglamm_jax.models.llm import scores
from vglamm_jax.models.sam2.image_encoder import Features
from vglamm_jax.models.sam2.prompt_encoder import Prompts
from vglamm_jax.models.sam2.tracker import Sam2
from vglamm_jax.models.videoglamm import VideoGlamm
from vglamm_jax.sharding import BATCH, gathered, shard
from vglamm_jax.train import losses
from vglamm_jax.train.config import Decoder
from vglamm_jax.train.losses import LossSettings, Sums

# Gathered as they run. The rest is small, or runs for many frames or chunks one after the other: gathered once.
LAYER_BY_LAYER = r"^(llm|clip|internvideo2)/blocks/"


class ForwardSettings(LossSettings, Protocol):
    """What this module reads of a training config.

    decoder: "framewise", every supervised frame on its own as the original trains, or "tracked", through the memory
      of the tracker as it runs at inference. remat: see `models.layers.run`; it also recomputes each decoded frame.
    """

    decoder: Decoder
    remat: Remat


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Encoded:
    """What the frozen encoders say of a batch, a row each; None where the model has no such tower."""

    clip: jax.Array | None  # [B, F, cells, width], no CLS
    internvideo2: jax.Array | None  # [B, clips, tokens, width], no CLS
    sam2: Features  # [B, K, ...]


def forward(
    model: VideoGlamm,
    batch: Batch,
    cfg: ForwardSettings,
    key: jax.Array | None = None,
    *,
    encoded: Encoded | None = None,
    multimask_fallback: bool = False,
) -> tuple[Sums, dict[str, jax.Array]]:
    """Losses of a batch of videos and images, as sums and weights for `losses.total`, and what else is known.

    Args:
      model: with parameters of any dtype; it computes in that of the parameters, losses in float32.
      batch: of `data.pack`; its pixels may also be floating, then they are taken as normalised.
      key: for the dropout of LoRA, or keys [B], one for each row; None = none.
      encoded: what `encode` gave for this batch, to skip it.
      multimask_fallback: framewise, let an unstable mask give way to a multi-mask, as the original does in eval mode
        alone (facts 1.11, 5.6).

    Returns:
      `{"ce", "bce", "dice"}` -> (sum, weight), and `{"mask_logits": float32 [B, S, K, 4g, 4g]}` with g = sam2.grid.
    """
    model = gathered(model, but=LAYER_BY_LAYER)
    # The barrier keeps the compiler from carrying more precision past this point than features in a cache have.
    encoded = jax.lax.optimization_barrier(encode(model, batch)) if encoded is None else encoded
    hidden = read(model, batch, encoded, cfg.remat, key)
    text = point(model, hidden, batch)
    if cfg.decoder == "tracked":
        logits = tracked(model.sam2, encoded.sam2, text, remat=bool(cfg.remat))
    else:
        logits = framewise(model.sam2, encoded.sam2, text, multimask_fallback, remat=bool(cfg.remat))
    logits_of = functools.partial(scores, model.llm.cfg)
    sums = {"ce": losses.cross_entropy(hidden, jnp.asarray(batch.labels), model.llm.head, logits_of)}
    sums |= losses.mask_losses(_at_size(logits, batch.masks.shape[-2:]), jnp.asarray(batch.masks), cfg.protocol)
    return sums, {"mask_logits": logits}


def encode(model: VideoGlamm, batch: Batch) -> Encoded:
    """The frozen encoders on a batch; nothing of it is kept for a backward pass."""
    clip = internvideo2 = None
    if model.clip is not None:
        tower, frames = _frozen(model.clip), batch.context.shape[1]
        pixels = _pixels(batch.context, "clip", tower)
        clip = tower(shard(rearrange(pixels, "b f h w c -> (b f) h w c"), BATCH), gather=True)
        clip = rearrange(clip, "(b f) n d -> b f n d", f=frames)
    if model.internvideo2 is not None:
        tower, per_clip = _frozen(model.internvideo2), model.cfg.internvideo2.frames
        pixels = _pixels(batch.clips, "internvideo2", tower)
        video = tower(shard(rearrange(pixels, "b (n f) h w c -> (b n) f h w c", f=per_clip), BATCH), gather=True)
        internvideo2 = rearrange(video[:, 1:], "(b n) t d -> b n t d", b=len(pixels))
    return Encoded(clip, internvideo2, _sam2_features(_frozen(model.sam2), batch.sam))


def _sam2_features(sam2: Sam2, frames: jax.Array) -> Features:
    """Frames [B, K, S, S, 3] -> features [B, K, ...], one frame of each row at a time: it stays in a core's memory."""

    blocks = sam2.image_encoder.trunk.blocks_by_run()

    def one(frame):
        return sam2.encode(shard(_pixels(frame, "sam2", sam2), BATCH), blocks)

    return _frames_first(jax.lax.map(one, jnp.moveaxis(jnp.asarray(frames), 1, 0)))


def read(
    model: VideoGlamm, batch: Batch, encoded: Encoded, remat: Remat = False, key: jax.Array | None = None
) -> jax.Array:
    """The language model on texts with their visual rows -> hidden states after the final norm [B, L, D]."""
    embeds = shard(model.read(jnp.asarray(batch.ids), jnp.asarray(batch.visual), visual_table(model, encoded)), BATCH)
    positions = jnp.arange(embeds.shape[1])[None]
    valid = positions < jnp.asarray(batch.lengths)[:, None]
    return model.llm(embeds, positions, valid, remat=remat, gather=True, dropout=key)[0]


def visual_table(model: VideoGlamm, encoded: Encoded) -> jax.Array:
    """What `Batch.visual` points into: the rows of each video, then those of its first frame as an image, unpooled."""
    image = video = None
    if encoded.clip is not None:
        image = model.image_mm_projector(encoded.clip)
    if encoded.internvideo2 is not None:
        video = model.mm_projector(encoded.internvideo2)
    rows = (image if image is not None else video).shape[0]
    table = visual_tokens(_folded(image), _folded(video), model.cfg, rows)
    return table if image is None else jnp.concatenate([table, image[:, 0].astype(table.dtype)], axis=1)


def point(model: VideoGlamm, hidden: jax.Array, batch: Batch) -> jax.Array:
    """Hidden states [B, L, D] -> prompts of the mask decoder [B, S, width], 0 where a slot is not in use."""
    at = jnp.asarray(batch.seg_positions)[..., None]
    text = model.point(jnp.take_along_axis(hidden, at, axis=1))
    return jnp.where(jnp.asarray(batch.seg_valid)[..., None], text, 0)


def framewise(
    sam2: Sam2, features: Features, text: jax.Array, multimask_fallback: bool = False, *, remat: bool = False
) -> jax.Array:
    """Features [B, K, ...] and prompts [B, S, width] -> logits [B, S, K, 4g, 4g], every frame on its own.

    The single mask of the decoder, as the original trains it: neither gated by the object score nor, in train mode,
    replaced where it is unstable (facts 1.11, 5.6).
    """
    text = text.astype(features.embed.dtype)

    def one(frame):
        return sam2.framewise(frame, text, multimask_fallback=multimask_fallback).logits

    return jnp.moveaxis(jax.lax.map(_maybe_remat(one, remat), _frames_first(features)), 0, 2)


def tracked(sam2: Sam2, features: Features, text: jax.Array, *, remat: bool = False) -> jax.Array:
    """As `framewise`, but prompted on the first frame and followed through the others by memory, as at inference.

    Unlike there, logits are those before the gate of the object score, which would take their gradient; memory
    sees what it sees at inference.
    """
    rows, slots, width = text.shape
    frames = _frames_first(features)
    count = features.embed.shape[1]
    prompts = Prompts(text=text.astype(features.embed.dtype).reshape(rows * slots, 1, width))

    def begin(frame):
        first, bank = sam2.start(_per_object(frame, slots), prompts, frames=count, gate=False)
        return first.logits, bank

    def follow(bank, x):
        index, frame = x
        output, bank = sam2.step(bank, _per_object(frame, slots), index, gate=False)
        return bank, output.logits

    first, bank = _maybe_remat(begin, remat)(jax.tree.map(lambda x: x[0], frames))
    later = (jnp.arange(1, count, dtype=jnp.int32), jax.tree.map(lambda x: x[1:], frames))
    _, rest = jax.lax.scan(_maybe_remat(follow, remat), bank, later)
    logits = jnp.concatenate([first[None], rest])
    return jnp.moveaxis(logits.reshape(count, rows, slots, *logits.shape[2:]), 0, 2)


def _per_object(frame: Features, slots: int) -> Features:
    """Features of one frame of each row [B, ...] -> for each of its objects [B * slots, ...]."""
    return jax.tree.map(lambda x: shard(jnp.repeat(x, slots, axis=0), BATCH), frame)


def _maybe_remat(f: Callable, remat: bool) -> Callable:
    return jax.checkpoint(f, prevent_cse=False) if remat else f


def _frozen(module: Any) -> Any:
    return jax.tree.map(jax.lax.stop_gradient, module)


def _pixels(pixels: jax.Array, encoder: Literal["clip", "internvideo2", "sam2"], tower: Any) -> jax.Array:
    """Normalised, in the dtype the tower computes in."""
    pixels = jnp.asarray(pixels)
    pixels = pixels if jnp.issubdtype(pixels.dtype, jnp.floating) else normalised(pixels, encoder)
    return pixels.astype(jax.tree.leaves(tower)[0].dtype)


def _folded(x: jax.Array | None) -> jax.Array | None:
    return None if x is None else x.reshape(-1, *x.shape[2:])


def _frames_first(features: Features) -> Features:
    """[B, K, ...] -> [K, B, ...], and back."""
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), features)


def _at_size(logits: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Logits [..., h, w] at the size of the target masks, bilinear (facts 1.11)."""
    if logits.shape[-2:] == tuple(size):
        return logits
    return jax.image.resize(logits, (*logits.shape[:-2], *size), "linear", antialias=False)
