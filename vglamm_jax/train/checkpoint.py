"""Checkpoints of a run: what is learnt, where the data is, and what run it is; written in the background.

    workdir/checkpoints/<step>/
      state   step, train, opt and ema by name (`state.named`); frozen weights are not there, they are where they
              came from, so that a checkpoint of a LoRA run stays small
      data    {"step": n, "fingerprint": ...}: all there is to know of the stream
      meta    the config and the versions of what wrote it

Arrays are restored to where `sharding.RULES` puts them now: the mesh and the number of processes may have changed.
"""

import contextlib
import dataclasses
import errno
import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from vglamm_jax.config import to_json
from vglamm_jax.convert.orbax_io import silent
from vglamm_jax.convert.orbax_store import place
from vglamm_jax.train.background import told_once
from vglamm_jax.train.config import TrainConfig
from vglamm_jax.train.state import State, named, renamed

LEARNT = ("step", "train", "opt", "ema")
REASONS = tuple(map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)))
WRITTEN_BY = ("vglamm_jax", "jax", "flax", "optax", "orbax-checkpoint", "grain")


class ResumeError(ValueError):
    """A checkpoint that this run cannot go on from; the message says why and what to do."""


class Checkpoints:
    """The checkpoints of one run; newest first, so many are kept."""

    def __init__(self, cfg: TrainConfig):
        told_once()
        self.cfg, self.folder = cfg, place(cfg.workdir) / "checkpoints"
        options = ocp.CheckpointManagerOptions(
            max_to_keep=cfg.keep,
            cleanup_tmp_directories=True,  # of a run that was killed while it wrote
        )
        handlers = {"state": ocp.StandardCheckpointHandler(), "data": ocp.JsonCheckpointHandler()}
        handlers["meta"] = ocp.JsonCheckpointHandler()
        self.manager = ocp.CheckpointManager(self.folder, options=options, item_handlers=handlers)

    def latest(self) -> int | None:
        return self.manager.latest_step()

    def due(self, step: int) -> bool:
        """Whether a checkpoint should be written now: at every multiple of `save_every`, once."""
        return step > 0 and step % self.cfg.save_every == 0 and step != self.latest()

    def save(self, step: int, state: State, fingerprint: int) -> None:
        """Begins to write; the arrays are copied before this returns, so that the next step may reuse them."""
        if step == self.latest():
            return
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(_learnt(state)),
            data=ocp.args.JsonSave({"step": step, "fingerprint": fingerprint}),
            meta=ocp.args.JsonSave({"config": to_json(self.cfg), "versions": _versions()}),
        )
        with silent(), self._one_line():
            self.manager.save(step, args=items, force=True)

    def restore(self, state: State, fingerprint: int) -> State:
        """The newest checkpoint in the places of `state`, whose arrays are given up.

        Raises:
          ResumeError: it is of another model, other trainable parts or other data, or damaged.
        """
        step = self.latest()
        where = self.folder / str(step)
        if step > self.cfg.steps:
            raise ResumeError(
                f"{where}: has done {step} steps, steps={self.cfg.steps} is fewer; raise steps, or use another workdir"
            )
        target = _learnt(jax.tree.map(_shape, state))
        with _readable(where):
            stored = self._stored(step)
        _same(where, target, stored)
        with _readable(where):
            items = {"state": ocp.args.StandardRestore(target)}
            items |= {"data": ocp.args.JsonRestore(), "meta": ocp.args.JsonRestore()}
            found = self.manager.restore(step, args=ocp.args.Composite(**items))
        if found["data"]["fingerprint"] != fingerprint:
            raise ResumeError(
                f"{where}: was trained on other data (sources, weights or seed differ); use another workdir, and "
                "start.parts to begin with its weights"
            )
        _same_start(where, self.cfg, found["meta"]["config"]["start"])
        return _with_learnt(state, found["state"])

    def _stored(self, step: int) -> dict[str, tuple[int, ...]]:
        leaves = jax.tree_util.tree_flatten_with_path(self.manager.item_metadata(step)["state"])[0]
        if not leaves:
            raise ValueError("the list of its arrays is missing")
        return {"".join(str(key.key) for key in path[-1:]): tuple(leaf.shape) for path, leaf in leaves}

    def wait(self) -> None:
        """Until everything begun is written.

        Raises:
          OSError: it could not be: the disk is full, or gone.
        """
        with self._one_line():
            self.manager.wait_until_finished()

    def close(self) -> None:
        with silent(), self._one_line():
            self.manager.close()

    @contextlib.contextmanager
    def _one_line(self) -> Iterator[None]:
        """What goes wrong while a checkpoint is written, also one before, in the background: as one line."""
        try:
            yield
        except Exception as error:  # Orbax and TensorStore raise bare ones, pages long
            reason = next((one for one in REASONS if one in str(error)), " ".join(str(error).split()))
            raise OSError(
                f"{self.folder}: a checkpoint could not be written ({reason[:200]}); the ones before it stay: make "
                "room, and the same command goes on from there"
            ) from error


@contextlib.contextmanager
def _readable(where: Path) -> Iterator[None]:
    """What goes wrong while a checkpoint is read, as one line."""
    try:
        with silent():
            yield
    except Exception as error:  # Orbax raises bare ones
        reason = " ".join(str(error).split())[:200]
        raise ResumeError(f"{where}: cannot be read ({reason}); remove it to go on from the one before") from error


def _learnt(state: State) -> dict[str, Any]:
    return named({name: getattr(state, name) for name in LEARNT})


def _with_learnt(state: State, values: dict[str, Any]) -> State:
    tree = renamed({name: getattr(state, name) for name in LEARNT}, values)
    return dataclasses.replace(state, **tree)


def _shape(x: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)


def _same(where: Path, wanted: dict[str, Any], stored: dict[str, tuple[int, ...]]) -> None:
    """One line about every array that is missing, too many or of another shape."""
    wrong = [f"{name} is missing" for name in wanted if name not in stored]
    wrong += [f"{name} is not part of this run" for name in stored if name not in wanted]
    wrong += [
        f"{name} is {list(stored[name])}, here {list(x.shape)}"
        for name, x in wanted.items()
        if stored.get(name, tuple(x.shape)) != tuple(x.shape)
    ]
    if wrong:
        more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        raise ResumeError(
            f"{where}: is of another model or trains other parts: {', '.join(wrong[:4])}{more}; use another workdir, "
            "or the config it was written with"
        )


def _same_start(where: Path, cfg: TrainConfig, before: dict[str, Any]) -> None:
    """Frozen weights are read again from where the run began; folders may have moved, but not changed their names."""

    def names(path: str | list[str] | None) -> Any:
        return [Path(one).name for one in path] if isinstance(path, list | tuple) else path and Path(path).name

    for field, now in to_json(cfg.start).items():
        if field != "tokenizer" and names(now) != names(before.get(field)):
            raise ResumeError(
                f"{where}: its run began with start.{field}={before.get(field)}, this one says {now}; begin with the "
                "same, or use another workdir"
            )


def _versions() -> dict[str, str]:
    return {name: version(name) for name in WRITTEN_BY}
