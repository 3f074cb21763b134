"""How long a step of the tiny model waits for its batch.

The consumer is a stand-in for the training step, and a lighter one, so that its waiting is an upper bound: the whole
model forward on a batch, and the gradient of the language model, without an optimiser.
"""

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from vglamm_jax.config import VideoGlammConfig
from vglamm_jax.data.mixture import Part
from vglamm_jax.data.pack import Batch, PackConfig
from vglamm_jax.data.pipeline import Batches, DataConfig
from vglamm_jax.data.preprocess import normalised
from vglamm_jax.models.videoglamm import VideoGlamm

BATCH = 4
THREADS = 2


def stalls(mixtures: Mapping[str, Sequence[Part]], cfg: VideoGlammConfig, tokenizer, steps: int) -> Iterator[tuple]:
    """(name, per, ms, per second, note) of the step alone, then of the waiting with each mixture."""
    model = VideoGlamm(cfg, nnx.Rngs(0))
    pack = PackConfig(lengths=(cfg.video_tokens + 224,), mask_size=cfg.sam2.image_size // 4)
    data = DataConfig(pack=pack, threads=THREADS, ahead=2 * THREADS)
    for number, (name, parts) in enumerate(mixtures.items()):
        stream = Batches(parts, cfg, data, tokenizer, BATCH)
        batch = next(stream)
        jax.block_until_ready(step(model, batch))
        if number == 0:
            alone = [_seconds(model, batch) for _ in range(5)]
            yield _row("a step of the tiny model, alone", alone, f"batch {BATCH}, forward and gradient")
        waited, worked = consume(model, stream, steps)
        stream.close()
        share = sum(waited) / (sum(waited) + sum(worked))
        yield _row(f"waiting for {name}", waited, f"{THREADS} threads; {100 * share:.1f}% of the time")


def consume(model: VideoGlamm, stream: Batches, steps: int) -> tuple[list[float], list[float]]:
    """Seconds waited for each batch, and worked on it."""
    waited, worked = [], []
    for _ in range(steps):
        asked = time.perf_counter()
        batch = next(stream)
        waited.append(time.perf_counter() - asked)
        worked.append(_seconds(model, batch))
    return waited, worked


def _seconds(model: VideoGlamm, batch: Batch) -> float:
    start = time.perf_counter()
    jax.block_until_ready(step(model, batch))
    return time.perf_counter() - start


@jax.jit
def step(model: VideoGlamm, batch: Batch) -> tuple[jax.Array, nnx.State]:
    """The loss of the text with its gradient in the language model, masks decoded beside it."""
    table = visual_table(model, batch)
    tracked = model.sam2.encode(normalised(batch.sam[:, 0], "sam2"))

    rows = jnp.take_along_axis(table, jnp.maximum(batch.visual, 0)[..., None], axis=1)
    positions = jnp.arange(batch.ids.shape[1])

    def loss(llm):
        embeds = jnp.where((batch.visual >= 0)[..., None], rows, llm.embed(batch.ids))
        hidden, _ = llm(embeds, jnp.broadcast_to(positions, batch.ids.shape), positions < batch.lengths[:, None])
        seg = jnp.take_along_axis(hidden, batch.seg_positions[..., None], axis=1)
        learnt = batch.labels[:, 1:] >= 0
        chosen = jnp.take_along_axis(jax.nn.log_softmax(llm.logits(hidden[:, :-1])), batch.labels[:, 1:, None], -1)
        return -(chosen[..., 0] * learnt).sum() / learnt.sum(), model.point(seg)

    (value, prompts), gradient = jax.value_and_grad(loss, has_aux=True)(model.llm)
    return value, gradient, prompts, tracked


def visual_table(model: VideoGlamm, batch: Batch) -> jax.Array:
    """[B, video_tokens + image_tokens, width], what `Batch.visual` points into."""
    context = normalised(batch.context, "clip")
    videos = model.see_video(context, normalised(batch.clips, "internvideo2"))
    return jnp.concatenate([videos, model.see_image(context[:, 0])], axis=1)


def _row(name: str, times: list[float], note: str) -> tuple:
    seconds = statistics.median(times)
    return name, "step (wall clock)", 1e3 * seconds, 1 / max(seconds, 1e-9), note
