"""The finished model as an Orbax folder of `vglamm convert`: to ask, to begin another run with, to turn into PyTorch.

What was learnt is written in float32, by every process its own shards. What was frozen is taken from where the run
began, tensor by tensor, as it is there: bit for bit and in its own type, although devices may hold it rounded to
bfloat16. So are tensors that no forward pass here uses, and the files beside them. Only what was made at random and
never learnt, as in toys, is written as devices hold it.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

from vglamm_jax.convert import engine, orbax_io
from vglamm_jax.convert.checkpoint import Checkpoint, slots
from vglamm_jax.convert.convert import MARGIN
from vglamm_jax.convert.from_model import checkpoint_of
from vglamm_jax.convert.orbax_store import in_bucket, place
from vglamm_jax.convert.publish import publishing
from vglamm_jax.convert.readers import companions
from vglamm_jax.train import start
from vglamm_jax.train.config import TrainConfig
from vglamm_jax.train.state import State, model_of

LONGEST = 4096  # bytes of a path
OF_THE_MODEL = ("home/config.json", "home/generation_config.json")


def export(state: State, cfg: TrainConfig, tokenizer: Path) -> epath.Path:
    """Writes workdir/model; what was there is replaced when all is written, in a bucket before.

    Every process calls this. `tokenizer` is the folder that the run took it from.

    Raises:
      NoRoomError, FileNotFoundError, CheckpointError: the disk is full, or what the run began with is gone.
    """
    folder = place(cfg.workdir) / "model"
    found, arrays = finished(state, cfg, tokenizer)
    published = _emptied(folder) if in_bucket(folder) else _published(Path(folder), found.nbytes + MARGIN)
    with published as partial:
        orbax_io.write(found, partial, arrays=arrays)
    return folder


def finished(state: State, cfg: TrainConfig, tokenizer: Path) -> tuple[Checkpoint, dict[str, jax.Array]]:
    """The model as a checkpoint, and by path those of its parameters that have to be written from devices."""
    model, learnt = model_of(state), set(engine.leaves(state.train))
    parameters, began = engine.leaves(model), start.carried(cfg)
    whole = checkpoint_of(model, cfg.model, began, tokenizer)
    before = began.tensors if began is not None else {}

    def changed(slot: engine.Slot) -> bool:
        return slot.path in learnt or slot.key not in before or before[slot.key].shape != slot.torch_shape

    places = slots(whole)
    arrays = {slot.path: parameters[slot.path] for slot in places if changed(slot)}
    kept = {slot.key: before[slot.key] for slot in places if slot.path not in arrays}
    return replace(whole, tensors=whole.tensors | kept, files=_files(began, tokenizer)), arrays


def _files(began: Checkpoint | None, tokenizer: Path) -> dict[str, Path]:
    """What lay beside the weights; a language model's own config is not that of the whole model."""
    before = dict(began.files) if began is not None else {}
    if began is not None and began.model is None:
        before = {name: path for name, path in before.items() if name not in OF_THE_MODEL}
    spoken = companions({"home": tokenizer})
    return before | {name: path for name, path in spoken.items() if name not in OF_THE_MODEL}


@contextlib.contextmanager
def _published(folder: Path, needed_bytes: int) -> Iterator[Path]:
    """The same empty folder for all processes, made and put in place by the first."""
    if jax.process_index() == 0:
        with publishing(folder, overwrite=True, needed_bytes=needed_bytes) as partial:
            partial.mkdir()
            yield _told(partial)
    else:
        yield _told(Path())
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("the model is in place")


@contextlib.contextmanager
def _emptied(folder: epath.Path) -> Iterator[epath.Path]:
    """A folder of a bucket, where nothing can be renamed: no checkpoint until its description is written, last."""
    if jax.process_index() == 0:
        (folder / orbax_io.DESCRIPTION).unlink(missing_ok=True)
        folder.rmtree(missing_ok=True)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("the place is empty")
    yield folder
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("the model is in place")


def _told(path: Path) -> Path:
    """What the first process says."""
    if jax.process_count() == 1:
        return path
    name = np.zeros(LONGEST, np.uint8)
    name[: len(str(path).encode())] = np.frombuffer(str(path).encode(), np.uint8)
    heard = np.asarray(multihost_utils.broadcast_one_to_all(name))
    return Path(heard.tobytes().rstrip(b"\0").decode())
