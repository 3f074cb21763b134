"""Checkpoints of a run: what is learnt, where the data is, and what run it is; written in the background.

    workdir/checkpoints/<step>/
      state   step, train, opt and ema by name (`state.named`); frozen weights are not there, they are where they
              came from, so that a checkpoint of a LoRA run stays small
      data    {"step": n, "fingerprint": ..., "contents": ...}: all there is to know of the stream
      meta    the config, digests of the weights it began with, and the versions of what wrote it

Arrays are restored to where `sharding.RULES` puts them now: the mesh and the number of processes may have changed.
"""

import contextlib
import dataclasses
import errno
import os
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from vglamm_jax.config import to_json
from vglamm_jax.convert.orbax_io import silent
from vglamm_jax.convert.orbax_store import place
from vglamm_jax.train import begun_with, same_run
from vglamm_jax.train.background import told_once
from vglamm_jax.train.config import TrainConfig
from vglamm_jax.train.same_run import ResumeError
from vglamm_jax.train.state import State, named, renamed

LEARNT = ("step", "train", "opt", "ema")
REASONS = tuple(map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)))
WRITTEN_BY = ("vglamm_jax", "jax", "flax", "optax", "orbax-checkpoint", "grain")


class Checkpoints:
    """The checkpoints of one run; newest first, so many are kept."""

    def __init__(self, cfg: TrainConfig):
        told_once()
        self.cfg, self.folder = cfg, place(cfg.workdir) / "checkpoints"
        self.start = begun_with.digests(cfg)
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

    def save(self, step: int, state: State, data: Mapping[str, Any]) -> None:
        """Begins to write; the arrays are copied before this returns, so that the next step may reuse them.

        `data`: what the stream is known by, `pipeline.Batches.identity`.
        """
        if step == self.latest():
            return
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(_learnt(state)),
            data=ocp.args.JsonSave({"step": step} | data),
            meta=ocp.args.JsonSave({"config": to_json(self.cfg), "start": self.start, "versions": _versions()}),
        )
        with silent(), self._one_line():
            self.manager.save(step, args=items, force=True)

    def restore(self, state: State, data: Mapping[str, Any]) -> State:
        """The newest checkpoint in the places of `state`, whose arrays are given up; `data` as in `save`.

        Raises:
          ResumeError: it is of another model, other trainable parts, other data or weights, or damaged.
        """
        step = self.latest()
        where = self.folder / str(step)
        same_run.check_steps(where, step, self.cfg.steps)
        target = _learnt(jax.tree.map(_shape, state))
        with _readable(where):
            stored = self._stored(step)
        same_run.check_arrays(where, target, stored)
        with _readable(where):
            items = {"state": ocp.args.StandardRestore(target)}
            items |= {"data": ocp.args.JsonRestore(), "meta": ocp.args.JsonRestore()}
            found = self.manager.restore(step, args=ocp.args.Composite(**items))
        same_run.check_settings(where, self.cfg, found["meta"]["config"])
        same_run.check_data(where, data, found["data"])
        same_run.check_start(where, self.cfg, self.start, found["meta"])
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


def _versions() -> dict[str, str]:
    return {name: version(name) for name in WRITTEN_BY}
