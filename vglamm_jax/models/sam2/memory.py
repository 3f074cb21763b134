"""The memory bank: everything that is remembered of the objects of a video, as one value of fixed size.

Every leaf has the objects [K] in front, so banks of objects that start on different frames concatenate.
A slot of the rings is reused after as many frames as the ring has slots; which frame it holds now (-1 = none)
says whether the current frame sees it and with which temporal encoding. An unseen slot has no influence.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from vglamm_jax.config import Sam2Config

EMPTY = -1


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class MemoryBank:
    """Conditioning slots C (frames with a prompt), R = num_memories - 1 maps and P = num_pointers - 1 pointers."""

    cond_maps: jax.Array  # [K, C, g * g, memory_width]
    cond_pointers: jax.Array  # [K, C, width]
    cond_frames: jax.Array  # int32 [K, C]
    maps: jax.Array  # [K, R, g * g, memory_width]
    map_frames: jax.Array  # int32 [K, R]
    pointers: jax.Array  # [K, P, width]
    pointer_frames: jax.Array  # int32 [K, P]
    pointer_span: jax.Array  # int32 [K]: frames that make a pointer's age 1 (SAM2.1)

    def condition(self, slot: int, frame: jax.Array | int, maps: jax.Array, pointers: jax.Array) -> "MemoryBank":
        """Remembers a prompted frame: maps [K, g * g, memory_width], pointers [K, width]."""
        return dataclasses.replace(
            self,
            cond_maps=self.cond_maps.at[:, slot].set(maps.astype(self.cond_maps.dtype)),
            cond_pointers=self.cond_pointers.at[:, slot].set(pointers.astype(self.cond_pointers.dtype)),
            cond_frames=self.cond_frames.at[:, slot].set(frame),
        )

    def write(self, frame: jax.Array | int, maps: jax.Array, pointers: jax.Array) -> "MemoryBank":
        """Remembers a tracked frame, in place of the one that has just become too old."""
        at_map, at_pointer = frame % self.maps.shape[1], frame % self.pointers.shape[1]
        return dataclasses.replace(
            self,
            maps=self.maps.at[:, at_map].set(maps.astype(self.maps.dtype)),
            map_frames=self.map_frames.at[:, at_map].set(frame),
            pointers=self.pointers.at[:, at_pointer].set(pointers.astype(self.pointers.dtype)),
            pointer_frames=self.pointer_frames.at[:, at_pointer].set(frame),
        )


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class MemoryKeys:
    """What memory attention reads: whole maps first, then the tokens of the pointers."""

    values: jax.Array  # [K, keys, memory_width]
    position: jax.Array  # [K, keys, memory_width]
    valid: jax.Array  # bool [K, keys]
    pointers: int = dataclasses.field(metadata={"static": True})  # how many of the last keys are pointer tokens


def empty(cfg: Sam2Config, objects: int, *, slots: int = 1, frames: int | None = None, dtype=jnp.float32) -> MemoryBank:
    """A bank with nothing in it, for `objects` objects with up to `slots` prompted frames each.

    `frames` is the length of the video if known: SAM2.1 counts a pointer's age in parts of
    min(frames, num_pointers) - 1 frames. `dtype` is that of the pointers.
    """
    cells, recent, old = cfg.grid**2, cfg.num_memories - 1, cfg.num_pointers - 1
    maps_dtype = jnp.dtype(cfg.memory_dtype)
    span = max(min(frames or cfg.num_pointers, cfg.num_pointers) - 1, 1)
    no_frames = lambda n: jnp.full((objects, n), EMPTY, jnp.int32)  # noqa: E731
    return MemoryBank(
        cond_maps=jnp.zeros((objects, slots, cells, cfg.memory_width), maps_dtype),
        cond_pointers=jnp.zeros((objects, slots, cfg.width), dtype),
        cond_frames=no_frames(slots),
        maps=jnp.zeros((objects, recent, cells, cfg.memory_width), maps_dtype),
        map_frames=no_frames(recent),
        pointers=jnp.zeros((objects, old, cfg.width), dtype),
        pointer_frames=no_frames(old),
        pointer_span=jnp.full((objects,), span, jnp.int32),
    )


@dataclasses.dataclass(frozen=True)
class View:
    """Which slots a frame sees. Ages are in frames, positive for what was tracked before it."""

    cond_seen: jax.Array  # bool [K, C]
    map_seen: jax.Array  # bool [K, R]
    map_age: jax.Array  # int32 [K, R]
    cond_pointer_seen: jax.Array  # bool [K, C]
    cond_age: jax.Array  # int32 [K, C]
    pointer_seen: jax.Array  # bool [K, P]
    pointer_age: jax.Array  # int32 [K, P]


def view(bank: MemoryBank, frame: jax.Array | int, *, reverse: bool = False) -> View:
    """What frame `frame` sees (facts 1.12, appendix A): all prompted maps, prompted pointers that are
    not ahead of it, and of the rings whatever is young enough. `reverse` tracks towards frame 0."""
    age = lambda frames: (frames - frame) if reverse else (frame - frames)  # noqa: E731
    young = lambda frames: (frames != EMPTY) & (age(frames) >= 1) & (age(frames) <= frames.shape[1])  # noqa: E731
    cond = bank.cond_frames != EMPTY
    return View(
        cond_seen=cond,
        map_seen=young(bank.map_frames),
        map_age=age(bank.map_frames),
        cond_pointer_seen=cond & (age(bank.cond_frames) >= 0),
        cond_age=age(bank.cond_frames),
        pointer_seen=young(bank.pointer_frames),
        pointer_age=age(bank.pointer_frames),
    )


def describe(bank: MemoryBank, frame: int, obj: int = 0, *, reverse: bool = False) -> Mapping[str, list]:
    """For people and tests: `maps` as (frame, row of `maskmem_tpos_enc`), `pointers` as frames, of one object."""
    seen = view(bank, frame, reverse=reverse)
    last = bank.maps.shape[1]
    maps = [(int(f), last) for f, ok in zip(bank.cond_frames[obj], seen.cond_seen[obj], strict=True) if ok]
    recent = zip(bank.map_frames[obj], seen.map_age[obj], seen.map_seen[obj], strict=True)
    maps += sorted((int(f), int(age) - 1) for f, age, ok in recent if ok)
    pointers = [int(f) for f, ok in zip(bank.cond_frames[obj], seen.cond_pointer_seen[obj], strict=True) if ok]
    recent = zip(bank.pointer_frames[obj], seen.pointer_age[obj], seen.pointer_seen[obj], strict=True)
    pointers += [f for _, f in sorted((int(age), int(f)) for f, age, ok in recent if ok)]
    return {"maps": maps, "pointers": pointers}
