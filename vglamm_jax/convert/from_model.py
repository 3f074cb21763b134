"""A model in memory as a `Checkpoint`, to be written like any other: after training, or made by hand.

save(model, cfg, "trained", base="weights")                      # Orbax, with the base's tokenizer and files
save(model, cfg, "for-pytorch", "pytorch", base="weights", merged=True)
"""

from pathlib import Path

import numpy as np

from vglamm_jax.config import VideoGlammConfig
from vglamm_jax.convert import engine, tables
from vglamm_jax.convert.checkpoint import Checkpoint, merge_lora, used
from vglamm_jax.convert.convert import SHARD_BYTES, Target, write_checkpoint
from vglamm_jax.convert.kinds import open_checkpoint
from vglamm_jax.convert.readers import companions
from vglamm_jax.convert.rows import under
from vglamm_jax.convert.tables_lora import lora as lora_rows
from vglamm_jax.convert.torch_io import LazyTensor
from vglamm_jax.models.videoglamm import VideoGlamm


def checkpoint_of(
    model: VideoGlamm, cfg: VideoGlammConfig, base: Checkpoint | None = None, tokenizer: Path | None = None
) -> Checkpoint:
    """The model's arrays under canonical names, each read from the device when it is written.

    Args:
      model: of `cfg`; every array must be addressable from this process.
      base: where it began: what it carries besides parameters, and its files, go along.
      tokenizer: folder of the tokenizer, where there is no base.
    """
    parameters = engine.leaves(model)
    rows = [*tables.videoglamm(cfg), *under("", "llm/", lora_rows(cfg.llm))]
    tensors = {slot.key: _tensor(slot, parameters[slot.path]) for slot in engine.slots(rows, parameters)}
    carried = {name: t for name, t in base.tensors.items() if name not in tensors} if base is not None else {}
    return Checkpoint(
        where="the model in memory",
        tensors=tensors | {name: t for name, t in carried.items() if ".lora_" not in name},
        sizes=used(cfg),
        model=cfg,
        layouts={"home": {"layout": "videoglamm"}} | _towers(base),
        files=base.files if base is not None else companions({"home": tokenizer}),
    )


def _towers(base: Checkpoint | None) -> dict:
    return {part: value for part, value in (base.layouts if base else {}).items() if part in ("clip", "internvideo2")}


def _tensor(slot: engine.Slot, array) -> LazyTensor:
    def read() -> np.ndarray:
        part = array if slot.index is None else array[slot.index]
        return slot.row.transform.to_torch(np.asarray(part))

    return LazyTensor(slot.torch_shape, np.dtype(array.dtype), read, Path("model"))


def save(
    model: VideoGlamm,
    cfg: VideoGlammConfig,
    dest: str | Path,
    to: Target = "orbax",
    *,
    base: str | Path | None = None,
    tokenizer: str | Path | None = None,
    merged: bool = False,
    shard_bytes: int = SHARD_BYTES,
    overwrite: bool = False,
) -> Path:
    """Writes a model in memory as `convert` writes a checkpoint; `merged` adds its LoRA into its matrices.

    Raises:
      FileExistsError, NoRoomError, CheckpointError: one message with all that is wrong.
    """
    began = open_checkpoint([base]).checkpoint if base is not None else None
    found = checkpoint_of(model, cfg, began, Path(tokenizer) if tokenizer is not None else None)
    found = merge_lora(found) if merged else found
    write_checkpoint(found, dest, to, shard_bytes=shard_bytes, overwrite=overwrite)
    return Path(dest)
