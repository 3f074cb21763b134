"""Conversion between checkpoints of any kinds: PyTorch in, Orbax between, PyTorch out.

convert(["VideoGLaMM", "clip-vit-large-patch14-336", "InternVideo2-stage2_1b.pt"], "weights", to="orbax")
convert(["weights"], "VideoGLaMM-again", to="pytorch")
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp

from vglamm_jax.config import VideoGlammConfig, load_model_config
from vglamm_jax.convert import checkpoint as checkpoints
from vglamm_jax.convert import orbax_io, torch_export
from vglamm_jax.convert.checkpoint import Checkpoint
from vglamm_jax.convert.engine import Progress
from vglamm_jax.convert.kinds import TITLES, open_checkpoint
from vglamm_jax.convert.publish import publishing
from vglamm_jax.convert.torch_write import SHARD_BYTES

Target = Literal["orbax", "pytorch", "safetensors", "peft"]
MARGIN = 2**20  # bytes of small files beside the weights


@dataclass(frozen=True)
class Converted:
    """What a conversion did: where to, from which kinds, how much, and what of the sources it left out."""

    dest: Path
    kinds: dict[Path, str]
    tensors: int
    nbytes: int
    left_out: list[str]


def convert(
    sources: str | Path | Sequence[str | Path],
    dest: str | Path,
    to: Target = "orbax",
    *,
    dtype: Any = None,
    config: str | Path | VideoGlammConfig | None = None,
    part: str | None = None,
    layout: str | None = None,
    merge_lora: bool = False,
    lora_alpha: float | None = None,
    shard_bytes: int = SHARD_BYTES,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Converted:
    """Converts checkpoints of any kinds into one folder; `dest` is there whole, or not at all.

    Args:
      sources: files and folders: the VideoGLaMM release with CLIP and InternVideo2, single parts, adapters, a
        training state dict, or an Orbax folder (see `kinds.TITLES`).
      dest: a folder that does not exist yet.
      to: "orbax"; "pytorch" (.bin) or "safetensors", in the layout the parts came from; "peft", LoRA alone.
      dtype: of every floating-point tensor; None keeps each as it is.
      config: sizes to use instead of those the files say: a `VideoGlammConfig` or a config file.
      part: convert only this: "llm", "clip", "internvideo2" or "sam2".
      layout: names of a SAM2 written for PyTorch, "meta" or "transformers"; None for those it came with.
      merge_lora: add LoRA into the matrices it adapts.
      lora_alpha: alpha of the LoRA in a training state dict, which does not say it.
      shard_bytes: largest file of weights, as far as tensors allow.
      overwrite: replace `dest`, at the end, in one step.
      progress: called with bytes read and bytes in all.

    Raises:
      FileNotFoundError, FileExistsError, NoRoomError, CheckpointError: one message with all that is wrong.
    """
    if to not in ("orbax", "pytorch", "safetensors", "peft"):
        raise ValueError(f"to={to!r}: choose orbax, pytorch, safetensors or peft")
    sources = [sources] if isinstance(sources, (str, Path)) else list(sources)
    if config is not None and not isinstance(config, VideoGlammConfig):
        config = load_model_config(config)
    opened = open_checkpoint(sources, config, lora_alpha=lora_alpha)
    found = checkpoints.merge_lora(opened.checkpoint) if merge_lora else opened.checkpoint
    found = checkpoints.only(found, part) if part is not None else found
    found = checkpoints.with_sam2_layout(found, layout) if layout is not None else found
    found = checkpoints.cast(found, jnp.dtype(dtype)) if dtype is not None else found
    write_checkpoint(found, dest, to, shard_bytes=shard_bytes, overwrite=overwrite, progress=progress)
    return Converted(Path(dest), opened.kinds, len(found.tensors), found.nbytes, opened.left_out)


def write_checkpoint(
    found: Checkpoint,
    dest: str | Path,
    to: Target,
    *,
    shard_bytes: int = SHARD_BYTES,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Writes a checkpoint beside `dest` and puts it in place when it is whole."""
    with publishing(dest, overwrite=overwrite, needed_bytes=_needed(found, to)) as folder:
        if to == "orbax":
            folder.mkdir()
            orbax_io.write(found, folder, progress)
        elif to == "peft":
            torch_export.export_adapter(found, folder)
        else:
            kind = "bin" if to == "pytorch" else "safetensors"
            torch_export.export(found, folder, kind, shard_bytes=shard_bytes, progress=progress)


def _needed(found: Checkpoint, to: Target) -> int:
    """Bytes on disk, about; the swap of a stack's types and InternVideo2's second copy included."""
    if to == "peft":
        return MARGIN
    twice = found.part("internvideo2") if to != "orbax" and found.model is not None else {}
    return found.nbytes + sum(tensor.nbytes for tensor in twice.values()) + MARGIN


def describe(done: Converted) -> list[str]:
    """What was done, in lines for people."""
    lines = [f"{path}: {TITLES[kind]}" for path, kind in done.kinds.items()]
    if done.left_out:
        shown = ", ".join(done.left_out[:3]) + (" ..." if len(done.left_out) > 3 else "")
        lines.append(f"left out, VideoGLaMM has no place for them: {len(done.left_out)} tensors ({shown})")
    lines.append(f"{done.dest}: {done.tensors:,} tensors, {done.nbytes / 1e9:,.3f} GB")
    return lines
