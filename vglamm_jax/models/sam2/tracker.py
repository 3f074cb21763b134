"""SAM2: masks for prompts on images, and objects followed through a video (facts 1.11, 1.12).

    features = sam2.encode(frames)                              # images -> features
    masks = sam2.framewise(features, text)                      # every frame on its own
    first, bank = sam2.start(features_of_frame_0, Prompts(text=text))
    tracked, bank = sam2.track(bank, features_of_more, 1)       # any number of times

A bank has a fixed size, so a video of any length streams through `track` in chunks.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from vglamm_jax.config import Sam2Config
from vglamm_jax.models.sam2 import memory
from vglamm_jax.models.sam2.convolution import patchwise
from vglamm_jax.models.sam2.hiera import RunBlocks
from vglamm_jax.models.sam2.image_encoder import Features, ImageEncoder
from vglamm_jax.models.sam2.mask_decoder import MaskDecoder, Masks
from vglamm_jax.models.sam2.memory import MemoryBank, MemoryKeys
from vglamm_jax.models.sam2.memory_attention import MemoryAttention
from vglamm_jax.models.sam2.memory_encoder import MemoryEncoder
from vglamm_jax.models.sam2.mlp import Mlp
from vglamm_jax.models.sam2.position import sine_grid, sine_line
from vglamm_jax.models.sam2.prompt_encoder import IGNORED, PromptEncoder, Prompts

MASK_AS_OUTPUT_SCALE, MASK_AS_OUTPUT_BIAS = 20.0, -10.0  # a given mask as logits


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Tracked:
    """One mask of each object, by frame where there are several: leading axes [T, K] or [K]."""

    logits: jax.Array  # float32 [..., 4g, 4g]
    iou: jax.Array  # [..., ]
    object_score: jax.Array  # [...]


class Sam2(nnx.Module):
    """SAM2, or SAM2.1 with `no_object_memory` and `pointer_time`."""

    def __init__(self, cfg: Sam2Config, rngs: nnx.Rngs):
        width, narrow = cfg.width, cfg.memory_width
        self.cfg = cfg
        self.image_encoder = ImageEncoder(cfg, rngs)
        self.sam_prompt_encoder = PromptEncoder(cfg, rngs)
        self.sam_mask_decoder = MaskDecoder(cfg, rngs)
        self.memory_attention = MemoryAttention(cfg, rngs)
        self.memory_encoder = MemoryEncoder(cfg, rngs)
        self.obj_ptr_proj = Mlp((width, width, width, width), rngs)
        self.mask_downsample = nnx.Conv(1, 1, (4, 4), strides=4, padding="VALID", rngs=rngs)
        normal = nnx.initializers.truncated_normal(0.02)
        param = lambda *shape: nnx.Param(normal(rngs.params(), shape))  # noqa: E731
        self.maskmem_tpos_enc = param(cfg.num_memories, 1, 1, narrow)
        self.no_mem_embed = param(1, 1, width)
        self.no_mem_pos_enc = param(1, 1, width)  # in every published file, used by no forward pass
        self.no_obj_ptr = param(1, width)
        self.no_obj_embed_spatial = param(1, narrow) if cfg.no_object_memory else None
        self.obj_ptr_tpos_proj = nnx.Linear(width, narrow, rngs=rngs) if cfg.pointer_time else None

    # Images

    def encode(self, images: jax.Array, blocks: list[RunBlocks] | None = None) -> Features:
        """Normalised images [n, side, side, 3] -> features; `blocks`: see `Hiera.blocks_by_run`."""
        level0, level1, embed = self.image_encoder(images, blocks)
        return Features(embed, self.sam_mask_decoder.high_res(level0, level1))

    def predict(self, features: Features, prompts: Prompts) -> Masks:
        """All candidates for every prompt, by frame: features of [n] images, prompts [n or 1, K, ...]."""
        per_image = jax.tree.map(lambda x: x[:, None], features)
        return self._decode(per_image.embed + self._no_memory(), per_image.high_res, prompts)

    def framewise(self, features: Features, text: jax.Array, *, multimask_fallback: bool = True) -> Tracked:
        """One mask per text prompt, every frame on its own (facts 1.11, left column).

        Args:
          features: of [T] frames.
          text: [K, width], the same prompts on all frames, or [T, K, width].
          multimask_fallback: replace an unstable mask by the best multi-mask; the original trains without.

        Returns:
          Leading axes [T, K]; logits are not gated by the object score.
        """
        text = text if text.ndim == 3 else text[None]
        masks = self.predict(features, Prompts(text=text[..., None, :]))
        return _one(self._stable(masks) if multimask_fallback else masks.single())

    # Video

    def start(
        self,
        features: Features,
        prompts: Prompts,
        frame: int = 0,
        *,
        frames: int | None = None,
        slots: int = 1,
        gate: bool = True,
    ) -> tuple[Tracked, MemoryBank]:
        """Prompts [K] objects on one frame (features of [1] image, or of one for each object) and begins a bank.

        `frames` is the length of the video if known (SAM2.1 only); `slots` how many frames may be prompted; `gate`
        as for `step`.
        """
        output, maps, pointers = self.condition(features, prompts, gate=gate)
        bank = memory.empty(self.cfg, len(pointers), slots=slots, frames=frames, dtype=pointers.dtype)
        return output, bank.condition(0, frame, maps, pointers)

    def condition(
        self, features: Features, prompts: Prompts, *, gate: bool = True
    ) -> tuple[Tracked, jax.Array, jax.Array]:
        """Masks of prompted objects [K], and what to remember: maps [K, cells, narrow] and pointers [K, width].

        Text, points and boxes are decoded. A mask (0/1 at image size) is taken as it is.
        """
        if prompts.masks is not None:
            return self._take_masks(features, prompts.masks)
        if prompts.points is None and prompts.boxes is None:
            prompts = _with_empty_point(prompts)
        masks = self._decode(features.embed + self._no_memory(), features.high_res, prompts)
        clicks = prompts.points.shape[-2] if prompts.points is not None else 0
        masks = masks.multi().best() if prompts.boxes is None and clicks <= 1 else self._stable(masks)
        output, pointers = self._settle(masks)
        mask = self._full_size(output.logits) > 0
        maps = self._remember(features, mask, output.object_score)
        return output if gate else _one(masks), maps, pointers

    def step(
        self, bank: MemoryBank, features: Features, frame: jax.Array | int, *, reverse: bool = False, gate: bool = True
    ) -> tuple[Tracked, MemoryBank]:
        """Follows the [K] objects of the bank into frame `frame` (features of [1] image, or of one for each object).

        `gate`: the returned logits of an object that its score says is not there are `no_object_logit`, which has no
        gradient; what is remembered is gated either way.
        """
        keys = self._memory_keys(bank, frame, reverse)
        embed = self.memory_attention(features.embed, keys)
        text = jnp.zeros((embed.shape[0], 0, self.cfg.width), embed.dtype)
        masks = self._decode(embed, features.high_res, _with_empty_point(Prompts(text=text))).multi().best()
        output, pointers = self._settle(masks)
        mask = jax.nn.sigmoid(self._full_size(output.logits))
        maps = self._remember(features, mask, output.object_score)
        return output if gate else _one(masks), bank.write(frame, maps, pointers)

    def track(
        self,
        bank: MemoryBank,
        frames: Features | jax.Array,
        first_frame: jax.Array | int,
        *,
        reverse: bool = False,
        remat: bool = False,
    ) -> tuple[Tracked, MemoryBank]:
        """Follows the objects through consecutive frames.

        Args:
          bank: as `start` or an earlier `track` left it.
          frames: features of [T] frames, or images [T, side, side, 3], encoded one at a time.
          first_frame: index of the first of them in the video.
          reverse: the frames are in falling order of their index.
          remat: recompute each frame in the backward pass.

        Returns:
          Masks with leading axes [T, K], and the bank after the last frame.
        """

        def body(bank, x):
            index, frame = x
            frame = jax.tree.map(lambda a: a[None], frame)
            features = frame if isinstance(frame, Features) else self.encode(frame)
            output, bank = self.step(bank, features, index, reverse=reverse)
            return bank, output

        steps = jnp.arange(len(jax.tree.leaves(frames)[0]), dtype=jnp.int32)
        indices = first_frame - steps if reverse else first_frame + steps
        body = jax.checkpoint(body, prevent_cse=False) if remat else body
        bank, outputs = jax.lax.scan(body, bank, (indices, frames))
        return outputs, bank

    # Parts

    def _decode(self, embed: jax.Array, high_res: tuple[jax.Array, jax.Array], prompts: Prompts) -> Masks:
        sparse, dense = self.sam_prompt_encoder(prompts)
        position = self.sam_prompt_encoder.position()
        return self.sam_mask_decoder(embed + dense, position, sparse, high_res)

    def _stable(self, masks: Masks) -> Masks:
        return masks.stable(self.cfg.stability_delta, self.cfg.stability_threshold)

    def _no_memory(self) -> jax.Array:
        return self.no_mem_embed[0, 0]

    def _settle(self, masks: Masks) -> tuple[Tracked, jax.Array]:
        """The chosen masks, gated by the object score, and the object pointers [K, width]."""
        output = _one(masks)
        there = output.object_score > 0
        logits = jnp.where(there[..., None, None], output.logits, self.cfg.no_object_logit)
        return dataclasses.replace(output, logits=logits), self._pointers(masks.tokens[..., 0, :], there)

    def _pointers(self, tokens: jax.Array, there: jax.Array) -> jax.Array:
        pointers = self.obj_ptr_proj(tokens)
        return jnp.where(there[..., None], pointers, self.no_obj_ptr[...].astype(pointers.dtype))

    def _full_size(self, logits: jax.Array) -> jax.Array:
        """[K, 4g, 4g] -> [K, side, side]."""
        shape = (*logits.shape[:-2], self.cfg.image_size, self.cfg.image_size)
        return jax.image.resize(logits, shape, "linear", antialias=False)

    def _remember(self, features: Features, mask: jax.Array, object_score: jax.Array) -> jax.Array:
        """Masks in [0, 1] at image size, [K, side, side] -> memory maps [K, cells, narrow]."""
        scaled = mask * self.cfg.memory_sigmoid_scale + self.cfg.memory_sigmoid_bias
        maps = self.memory_encoder(features.embed, scaled[..., None].astype(features.embed.dtype))
        if self.no_obj_embed_spatial is not None:
            gone = (object_score <= 0)[:, None, None, None]
            maps = jnp.where(gone, maps + self.no_obj_embed_spatial[...].astype(maps.dtype), maps)
        return maps.reshape(maps.shape[0], -1, maps.shape[-1]).astype(self.cfg.memory_dtype)

    def _take_masks(self, features: Features, mask: jax.Array) -> tuple[Tracked, jax.Array, jax.Array]:
        """A given mask [K, side, side] is the output; the decoder only turns it into a pointer."""
        mask = mask.astype(features.embed.dtype)
        logits = mask.astype(jnp.float32) * MASK_AS_OUTPUT_SCALE + MASK_AS_OUTPUT_BIAS
        low = (len(mask), 4 * self.cfg.grid, 4 * self.cfg.grid)
        there = jnp.any(mask > 0, axis=(-2, -1))
        score = jnp.where(there, MASK_AS_OUTPUT_SCALE + MASK_AS_OUTPUT_BIAS, MASK_AS_OUTPUT_BIAS)
        text = jnp.zeros((len(mask), 0, self.cfg.width), mask.dtype)
        hint = patchwise(self.mask_downsample, mask[..., None])[..., 0]
        prompts = _with_empty_point(Prompts(text=text, masks=hint))
        masks = self._decode(features.embed, features.high_res, prompts)
        _, pointers = self._settle(masks.single())
        pointers = jnp.where(there[:, None], pointers, self.no_obj_ptr[...].astype(pointers.dtype))
        output = Tracked(jax.image.resize(logits, low, "linear"), jnp.ones(len(mask)), score)
        return output, self._remember(features, mask > 0, score), pointers

    def _memory_keys(self, bank: MemoryBank, frame: jax.Array | int, reverse: bool) -> MemoryKeys:
        """The bank as the current frame sees it."""
        cfg = self.cfg
        seen = memory.view(bank, frame, reverse=reverse)
        dtype = self.no_mem_embed.dtype
        objects, cells, narrow = len(bank.maps), cfg.grid**2, cfg.memory_width
        time = self.maskmem_tpos_enc[...].reshape(-1, narrow)
        recent = time[jnp.clip(seen.map_age - 1, 0, bank.maps.shape[1] - 1)]
        cond = jnp.broadcast_to(time[-1], (objects, bank.cond_maps.shape[1], narrow))
        place = sine_grid(cfg.grid, cfg.grid, narrow).reshape(cells, narrow).astype(dtype)
        maps = jnp.concatenate([bank.cond_maps, bank.maps], axis=1).astype(dtype)
        position = place + jnp.concatenate([cond, recent], axis=1)[:, :, None]
        pointers, ages, pointer_seen = _pointer_slots(bank, seen)
        split = cfg.width // narrow
        per_token = lambda x: jnp.repeat(x, split, axis=1)  # noqa: E731
        map_seen = jnp.concatenate([seen.cond_seen, seen.map_seen], axis=1)
        return MemoryKeys(
            values=jnp.concatenate(
                [maps.reshape(objects, -1, narrow), pointers.astype(dtype).reshape(objects, -1, narrow)], axis=1
            ),
            position=jnp.concatenate(
                [position.reshape(objects, -1, narrow), per_token(self._pointer_time(ages, bank, dtype))], axis=1
            ),
            valid=jnp.concatenate([jnp.repeat(map_seen, cells, axis=1), per_token(pointer_seen)], axis=1),
            pointers=pointers.shape[1] * split,
        )

    def _pointer_time(self, ages: jax.Array, bank: MemoryBank, dtype) -> jax.Array:
        """Ages [K, pointers] -> encodings [K, pointers, narrow]; zero in SAM2."""
        if self.obj_ptr_tpos_proj is None:
            return jnp.zeros((*ages.shape, self.cfg.memory_width), dtype)
        return self.obj_ptr_tpos_proj(sine_line(ages / bank.pointer_span[:, None], self.cfg.width).astype(dtype))


def _pointer_slots(bank: MemoryBank, seen: memory.View) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Pointers [K, C + P, width] with their ages and whether they are seen."""
    return (
        jnp.concatenate([bank.cond_pointers, bank.pointers], axis=1),
        jnp.concatenate([seen.cond_age, seen.pointer_age], axis=1),
        jnp.concatenate([seen.cond_pointer_seen, seen.pointer_seen], axis=1),
    )


def _one(masks: Masks) -> Tracked:
    """Drops the candidate axis of length 1."""
    return Tracked(masks.logits[..., 0, :, :], masks.iou[..., 0], masks.object_score)


def _with_empty_point(prompts: Prompts) -> Prompts:
    """SAM2's video model always gives a point; without one it is an ignored one (facts 1.11)."""
    shape = prompts.text.shape[:-2]
    return dataclasses.replace(
        prompts, points=jnp.zeros((*shape, 1, 2)), labels=jnp.full((*shape, 1), IGNORED, jnp.int32)
    )
