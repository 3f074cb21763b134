"""Writes a `Checkpoint` as PyTorch users know it: each part under the names, and in the files, of its own kind.

The whole model becomes the folder that the original loads (facts 2.1), with the files of its towers inside:

    FOLDER/  config.json, tokenizer, pytorch_model-*.bin + index     everything but CLIP
             clip/  internvideo2.pt  internvideo2.json  sam2.yaml    what the original takes from elsewhere
"""

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from vglamm_jax.convert import hf_settings, layouts, manifest
from vglamm_jax.convert.checkpoint import Checkpoint, merge_lora
from vglamm_jax.convert.engine import Progress, Report
from vglamm_jax.convert.peft_io import PLAIN, PROJECTORS_FILE, write_adapter
from vglamm_jax.convert.peft_names import FACTOR, wrap_peft
from vglamm_jax.convert.sam2_settings import ORIGINAL, sam2_yaml, transformers_sam2_files, with_positions_twice
from vglamm_jax.convert.torch_io import CheckpointError, LazyTensor
from vglamm_jax.convert.torch_write import SHARD_BYTES, write_bin, write_pt, write_safetensors

Format = Literal["bin", "safetensors"]
Tensors = Mapping[str, LazyTensor]
SUFFIXES = {"bin": ".pt", "safetensors": ".safetensors"}


@dataclasses.dataclass(frozen=True)
class Writer:
    """How tensors are written: pickled or as safetensors, in shards of which size."""

    kind: Format
    shard_bytes: int = SHARD_BYTES

    def folder(self, folder: Path, tensors: Tensors) -> None:
        """A transformers folder's weights."""
        folder.mkdir(parents=True, exist_ok=True)
        write = write_bin if self.kind == "bin" else write_safetensors
        write(folder, tensors, shard_bytes=self.shard_bytes)

    def file(self, stem: Path, tensors: Tensors, wrapper: str | None) -> None:
        """One file; only a pickle can have a wrapper around its names."""
        if self.kind == "bin":
            write_pt(stem.with_suffix(".pt"), tensors, wrapper=wrapper)
        else:
            shards = max(self.shard_bytes, sum(tensor.nbytes for tensor in tensors.values()))
            write_safetensors(stem.parent, tensors, name=stem.name, shard_bytes=shards)


def export(checkpoint: Checkpoint, folder: Path, kind: Format, *, shard_bytes: int, progress: Progress | None) -> None:
    """Writes every part into `folder`, which is made, and a manifest.

    LoRA that came from an adapter or a training state goes back to where it was; the transformers layout of the
    whole model has no place for it, so there it is merged.
    """
    home = checkpoint.layouts.get("home", {}).get("layout", "videoglamm" if checkpoint.model else None)
    if home == "videoglamm":
        checkpoint = merge_lora(checkpoint)
    recorder, report = manifest.Recorder(), Report(_written_bytes(checkpoint, home), progress)
    watched = {name: report.watch(recorder.watch(name, t)) for name, t in checkpoint.tensors.items()}
    checkpoint = dataclasses.replace(checkpoint, tensors=watched)
    folder.mkdir(parents=True, exist_ok=True)
    writer = Writer(kind, shard_bytes)
    if home == "videoglamm":
        _whole_model(checkpoint, folder, writer)
    elif home == "state_dict":
        _state_dict(checkpoint, folder, writer)
    else:
        _parts(checkpoint, folder, writer)
    manifest.write(folder, recorder.entries)


def _written_bytes(checkpoint: Checkpoint, home: str | None) -> int:
    """InternVideo2 is written twice with a whole model: in the folder, and as the file that is read."""
    twice = checkpoint.part("internvideo2") if home == "videoglamm" else {}
    return checkpoint.nbytes + sum(tensor.nbytes for tensor in twice.values())


def _whole_model(checkpoint: Checkpoint, folder: Path, writer: Writer) -> None:
    clip = checkpoint.part("clip")
    writer.folder(folder, {name: t for name, t in checkpoint.tensors.items() if name not in clip})
    hf_settings.write(folder, hf_settings.videoglamm_files(checkpoint.model))
    _companions(checkpoint, "home", folder)
    hf_settings.add_choices(folder / "config.json", checkpoint.model)
    if clip:
        _clip(checkpoint, folder / "clip", writer)
    if checkpoint.part("internvideo2"):
        _internvideo2(checkpoint, folder, writer)
    (folder / "sam2.yaml").write_text(sam2_yaml(checkpoint.model.sam2, package=ORIGINAL), encoding="utf-8")
    _companions(checkpoint, "sam2", folder)


def _state_dict(checkpoint: Checkpoint, folder: Path, writer: Writer) -> None:
    names = checkpoint.layouts["home"]["names"]
    writer.file(folder / "pytorch_model", layouts.renamed(checkpoint.tensors, names), None)
    _companions(checkpoint, "home", folder)


def _parts(checkpoint: Checkpoint, folder: Path, writer: Writer) -> None:
    """Parts of a model: one alone fills the folder itself, several have a place each."""
    lora = checkpoint.sizes.llm is not None and checkpoint.sizes.llm.lora is not None
    home = {name: t for name, t in checkpoint.part("home").items() if not (lora and _of_adapter(name))}
    if lora and set(home) <= set(checkpoint.layouts.get("lora", {}).get("plain", ())):
        home = {}  # an adapter alone, with tables that it trained as a whole
    many = sum(map(bool, (home, lora, *(checkpoint.part(part) for part in layouts.PREFIXES)))) > 1
    if home:
        place = folder / "llm" if many else folder
        writer.folder(place, home)
        if checkpoint.sizes.llm is not None:
            hf_settings.write(place, hf_settings.llm_files(checkpoint.sizes.llm))
        _companions(checkpoint, "home", place)
    if lora:
        _adapter(checkpoint, folder / "adapter" if many else folder)
    if checkpoint.part("clip"):
        _clip(checkpoint, folder / "clip" if many else folder, writer)
    if checkpoint.part("internvideo2"):
        _internvideo2(checkpoint, folder, writer)
    if checkpoint.part("sam2"):
        _sam2(checkpoint, folder, writer, many)


def _of_adapter(name: str) -> bool:
    return bool(FACTOR.match(name)) or "mm_projector." in name


def _companions(checkpoint: Checkpoint, part: str, folder: Path) -> None:
    """Copies what lay beside the part's weights."""
    for name, path in checkpoint.files.items():
        owner, _, rest = name.partition("/")
        if owner == part:
            shutil.copyfile(path, folder / rest)


def _clip(checkpoint: Checkpoint, folder: Path, writer: Writer) -> None:
    writer.folder(folder, layouts.without_prefix(checkpoint.tensors, "clip"))
    hf_settings.write(folder, hf_settings.clip_files(checkpoint.sizes.clip))
    _companions(checkpoint, "clip", folder)


def _internvideo2(checkpoint: Checkpoint, folder: Path, writer: Writer) -> None:
    wrapper = checkpoint.layouts.get("internvideo2", {}).get("wrapper", "module")
    writer.file(folder / "internvideo2", layouts.without_prefix(checkpoint.tensors, "internvideo2"), wrapper)
    hf_settings.write(folder, hf_settings.internvideo2_files(checkpoint.sizes.internvideo2))


def _sam2(checkpoint: Checkpoint, folder: Path, writer: Writer, many: bool) -> None:
    layout: dict[str, Any] = checkpoint.layouts.get("sam2", {"layout": "meta"})
    tensors = checkpoint.part("sam2")
    if layout["layout"] == "transformers":
        place = folder / "sam2" if many else folder
        named = layouts.to_transformers_sam2(tensors, checkpoint.sizes.sam2)
        writer.folder(place, with_positions_twice(named) if layout.get("new") else named)
        memory = f"{layouts.PREFIXES['sam2']}maskmem_tpos_enc" in tensors
        hf_settings.write(place, transformers_sam2_files(checkpoint.sizes.sam2, memory=memory))
        _companions(checkpoint, "sam2", place)
        return
    named = layouts.to_meta_sam2(tensors, gamma=layout.get("gamma", True))
    writer.file(folder / "sam2", named, layout.get("wrapper", "model"))
    (folder / "sam2.yaml").write_text(sam2_yaml(checkpoint.sizes.sam2), encoding="utf-8")
    _companions(checkpoint, "sam2", folder)


def export_adapter(checkpoint: Checkpoint, folder: Path) -> None:
    """LoRA alone, as PEFT keeps it.

    Raises:
      CheckpointError: the checkpoint holds no LoRA.
    """
    recorder = manifest.Recorder()
    watched = dataclasses.replace(checkpoint, tensors=recorder.watch_all(checkpoint.tensors))
    folder.mkdir(parents=True, exist_ok=True)
    _adapter(watched, folder, everything=False)
    manifest.write(folder, recorder.entries)


def _adapter(checkpoint: Checkpoint, folder: Path, everything: bool = True) -> None:
    lora = checkpoint.sizes.llm.lora if checkpoint.sizes.llm is not None else None
    if lora is None:
        raise CheckpointError(
            f"{checkpoint.where}: holds no LoRA; only a checkpoint with one can become a PEFT adapter"
        )
    factors = {name: t for name, t in checkpoint.tensors.items() if FACTOR.match(name)}
    if "lora" not in checkpoint.layouts or checkpoint.layouts["lora"].get("plain"):
        factors |= {name: t for name, t in checkpoint.tensors.items() if name in PLAIN}
    write_adapter(folder, lora, factors, base=str(checkpoint.where))
    projectors = {name: t for name, t in checkpoint.tensors.items() if "mm_projector." in name}
    if everything and projectors:
        write_pt(folder / PROJECTORS_FILE, {wrap_peft(name): t for name, t in projectors.items()})
    _companions(checkpoint, "lora", folder)
