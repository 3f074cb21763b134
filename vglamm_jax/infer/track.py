"""Masks for a video of any length: frames are read, encoded and tracked a few at a time (facts 1.11, 1.12).

While one chunk is computed the next is decoded, so memory holds two chunks of frames and the memory bank,
however long the video is.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from vglamm_jax.config import MaskPath
from vglamm_jax.data.preprocess import sam2_pixels
from vglamm_jax.data.video import Video
from vglamm_jax.models.sam2.image_encoder import Features
from vglamm_jax.models.sam2.memory import MemoryBank
from vglamm_jax.models.sam2.prompt_encoder import Prompts
from vglamm_jax.models.sam2.tracker import Sam2, Tracked


@dataclasses.dataclass(frozen=True)
class FrameMasks:
    """What the mask decoder says about one frame."""

    logits: np.ndarray  # float32 [objects, h, w], at the decoder's resolution
    iou: np.ndarray  # float32 [objects], predicted
    object_score: np.ndarray  # float32 [objects], logit of being in the frame


@jax.jit
def encode(sam2: Sam2, images: jax.Array) -> Features:
    """Normalised frames [T, S, S, 3] -> features, one frame after the other: a frame fills the device."""
    return jax.tree.map(lambda x: x[:, 0], jax.lax.map(lambda image: sam2.encode(image[None]), images))


@partial(jax.jit, static_argnames="span")
def begin(sam2: Sam2, features: Features, text: jax.Array, span: int) -> tuple[Tracked, MemoryBank]:
    """Prompts [K, width] on the first frame (features of [1]); `span` = frames of the video, at most the pointers."""
    return sam2.start(features, Prompts(text=text[:, None]), frames=span)


@partial(jax.jit, donate_argnames="bank")
def follow(sam2: Sam2, bank: MemoryBank, features: Features, first_frame: jax.Array) -> tuple[Tracked, MemoryBank]:
    """The objects of the bank in the next frames (features of [T])."""
    return sam2.track(bank, features, first_frame)


@jax.jit
def separately(sam2: Sam2, features: Features, text: jax.Array) -> Tracked:
    """Prompts [K, width] on each frame (features of [T]) on its own."""
    return sam2.framewise(features, text)


def mask_video(
    sam2: Sam2, video: Video, indices: Sequence[int], text: np.ndarray, path: MaskPath, chunk: int | None = None
) -> Iterator[FrameMasks]:
    """Masks of the objects prompted by text [K, width] in frames `indices` of a video, one frame at a time.

    The number of objects is rounded up to a power of two, so that another answer does not compile again.
    `chunk` frames go to the device at once: by default one on a CPU, eight elsewhere.
    """
    chunk = chunk or (1 if jax.default_backend() == "cpu" else 8)
    objects = len(text)
    slots = 1 << (objects - 1).bit_length()
    text = jnp.asarray(np.pad(text, ((0, slots - objects), (0, 0))))
    dtype = jax.tree.leaves(sam2)[0].dtype
    chunks = _chunks(video, indices, sam2.cfg.image_size, chunk, dtype)
    outputs = _tracked(sam2, chunks, text, len(indices)) if path == "tracked" else _framewise(sam2, chunks, text)
    for tracked, count in outputs:
        logits, iou, score = (np.asarray(x, np.float32)[:count, :objects] for x in dataclasses.astuple(tracked))
        for frame in range(count):
            yield FrameMasks(logits[frame], iou[frame], score[frame])


def _tracked(sam2, chunks, text, frames):
    span = sam2.cfg.num_pointers
    if sam2.cfg.pointer_time:
        span = min(frames, span)
    bank, done = None, 0
    for images, count in chunks:
        features, begun = encode(sam2, images), 0
        if bank is None:
            first, bank = begin(sam2, jax.tree.map(lambda x: x[:1], features), text, span)
            features, begun = jax.tree.map(lambda x: x[1:], features), 1
            yield jax.tree.map(lambda x: x[None], first), 1
        if count > begun:
            tracked, bank = follow(sam2, bank, features, jnp.int32(done + begun))
            yield tracked, count - begun
        done += count


def _framewise(sam2, chunks, text):
    for images, count in chunks:
        yield separately(sam2, encode(sam2, images), text), count


def _chunks(video, indices, size, chunk, dtype) -> Iterator[tuple[jax.Array, int]]:
    """(images [chunk, size, size, 3], how many of them are frames): the last chunk is filled up with its last frame."""
    frames = iter(video.frames(indices))

    def read() -> tuple[np.ndarray, int] | None:
        taken = list(itertools.islice(frames, chunk))
        if not taken:
            return None
        pixels = sam2_pixels(taken, size)
        filler = np.repeat(pixels[-1:], chunk - len(taken), axis=0)
        return np.concatenate([pixels, filler]), len(taken)

    with ThreadPoolExecutor(max_workers=1) as reader:
        ahead = reader.submit(read)
        while (chunk_read := ahead.result()) is not None:
            ahead = reader.submit(read)
            pixels, count = chunk_read
            yield jnp.asarray(pixels, dtype), count
