"""A checkpoint of any kind as one thing: canonical names, lazy tensors, sizes, and the files that travel along."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np

from vglamm_jax.config import ClipConfig, InternVideo2Config, LlmConfig, Sam2Config, VideoGlammConfig, config
from vglamm_jax.convert import engine, tables
from vglamm_jax.convert.layouts import part_of
from vglamm_jax.convert.lora_merge import merged
from vglamm_jax.convert.peft_io import PLAIN
from vglamm_jax.convert.rows import Row, linear, under
from vglamm_jax.convert.sam2_settings import POSITIONS_AGAIN
from vglamm_jax.convert.tables import SAM2_PREFIX
from vglamm_jax.convert.tables_lora import lora as lora_rows
from vglamm_jax.convert.tables_sam2 import sam2 as sam2_rows
from vglamm_jax.convert.torch_io import LazyTensor
from vglamm_jax.models import layers
from vglamm_jax.models.clip import ClipVision
from vglamm_jax.models.internvideo2 import InternVideo2
from vglamm_jax.models.llm import CausalLM
from vglamm_jax.models.sam2.tracker import Sam2

ADAPTERS = ("image_mm_projector", "mm_projector", "text_hidden_fcs")
SPOKEN = ("model.embed_tokens.", "model.layers.", "model.norm.", "lm_head.")  # the language model's names
FLOATS = (np.float16, np.float32, np.float64, ml_dtypes.bfloat16)


@config
class Sizes:
    """Sizes of the parts a checkpoint holds; None for a part it does not hold."""

    clip: ClipConfig | None = None
    internvideo2: InternVideo2Config | None = None
    llm: LlmConfig | None = None
    sam2: Sam2Config | None = None


def used(cfg: VideoGlammConfig) -> Sizes:
    """Those of a whole model, which may have one encoder alone."""
    return Sizes(
        clip=cfg.clip if cfg.encoders != "video" else None,
        internvideo2=cfg.internvideo2 if cfg.encoders != "image" else None,
        llm=cfg.llm,
        sam2=cfg.sam2,
    )


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by canonical name (see `layouts`), not yet read.

    Attributes:
      where: how errors call it.
      tensors: every parameter, and every tensor that is carried though no forward pass here uses it.
      sizes: of the parts it holds.
      model: the whole model's config, where it holds the whole model.
      layouts: which kind of file each part came from, and what is needed to write it back the same way.
      files: what lies beside the weights and goes with them (config.json, tokenizer), by relative name.
      copies: tensors that the folder holds once more and that are not used (facts 2.1); a manifest covers them too.
    """

    where: str
    tensors: dict[str, LazyTensor]
    sizes: Sizes
    model: VideoGlammConfig | None = None
    layouts: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    copies: dict[str, LazyTensor] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def part(self, name: str) -> dict[str, LazyTensor]:
        """The tensors of "clip", "internvideo2", "sam2" or "home"."""
        return {key: tensor for key, tensor in self.tensors.items() if part_of(key) == name}


def cast(checkpoint: Checkpoint, dtype: Any) -> Checkpoint:
    """With every floating-point tensor as `dtype`; whole numbers stay what they are."""
    dtype = np.dtype(dtype)
    if dtype not in FLOATS:
        raise ValueError(f"weights cannot be stored as {dtype}; choose one of {', '.join(map(_name, FLOATS))}")
    return replace(checkpoint, tensors={key: _cast(tensor, dtype) for key, tensor in checkpoint.tensors.items()})


def _name(kind: type) -> str:
    return np.dtype(kind).name


def _cast(tensor: LazyTensor, dtype: np.dtype) -> LazyTensor:
    if tensor.dtype == dtype or tensor.dtype not in FLOATS:
        return tensor
    return replace(tensor, dtype=dtype, read=lambda: tensor.read().astype(dtype))


def rows(sizes: Sizes, tensors: Mapping[str, Any]) -> list[Row]:
    """The rows of every part, in canonical names and the whole model's paths.

    Of SAM2 only rows whose tensors are there: an image model of transformers has no memory.
    """
    found: list[Row] = []
    if sizes.clip is not None:
        found += under(tables.CLIP_PREFIX, "clip/", tables.clip(sizes.clip))
    if sizes.internvideo2 is not None:
        found += under(tables.INTERNVIDEO2_PREFIX, "internvideo2/", tables.internvideo2(sizes.internvideo2))
    if sizes.llm is not None:
        base = [*tables.llm(sizes.llm), *(lora_rows(sizes.llm) if sizes.llm.lora else [])]
        found += under("", "llm/", [row for row in base if row.names()[0] in tensors])
    found += adapter_rows(tensors)
    if sizes.sam2 is not None:
        whole = under(tables.SAM2_PREFIX, "sam2/", sam2_rows(sizes.sam2, layer_scale="weight"))
        found += [row for row in whole if not row.names() or row.names()[0] in tensors]
    return found


def adapter_rows(tensors: Mapping[str, Any]) -> list[Row]:
    """Rows of the projectors and the L-V adapter that are there."""
    keys = {name: f"model.{name}{'.0' if name == 'text_hidden_fcs' else ''}" for name in ADAPTERS}
    return [
        row
        for name, key in keys.items()
        if f"{key}.0.weight" in tensors
        for n, layer in ((0, "fc1"), (2, "fc2"))
        for row in linear(f"{key}.{n}", f"{name}/{layer}")
    ]


def parameters(sizes: Sizes) -> dict[str, jax.ShapeDtypeStruct]:
    """Path -> shape of every parameter of the parts that have sizes, as in the whole model."""
    make = {
        "clip": (ClipVision, sizes.clip),
        "internvideo2": (InternVideo2, sizes.internvideo2),
        "llm": (CausalLM, sizes.llm),
        "sam2": (Sam2, sizes.sam2),
    }
    found = {}
    for name, (kind, cfg) in make.items():
        if cfg is not None:
            module = layers.abstract(kind, cfg)
            found |= {f"{name}/{path}": leaf for path, leaf in engine.leaves(module).items()}
    return found


def named_by(table: Iterable[Row], shapes: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that rows of `table` fill."""
    paths = {path for row in table for path in (row.path, row.stacked_path, *row.listed_paths())}
    return {path: shape for path, shape in shapes.items() if path in paths}


def slots(checkpoint: Checkpoint) -> list[engine.Slot]:
    """The place in the model of every tensor that has one; the others are carried."""
    table = rows(checkpoint.sizes, checkpoint.tensors)
    shapes = named_by(table, parameters(checkpoint.sizes))
    for row in adapter_rows(checkpoint.tensors):
        shapes[row.path] = jax.ShapeDtypeStruct(tuple(reversed(checkpoint.tensors[row.key].shape)), np.float32)
    return engine.slots(table, shapes)


def combine(checkpoints: Iterable[Checkpoint]) -> Checkpoint:
    """Several partial checkpoints as one; tables that an adapter trained as a whole replace the base model's.

    Raises:
      CheckpointError: two of them hold the same tensor.
    """
    found = list(checkpoints)
    whole = found[0]
    for other in found[1:]:
        replaced = set(PLAIN) if "lora" in other.layouts else set()
        both = sorted((set(whole.tensors) & set(other.tensors)) - replaced)
        if both:
            raise engine.CheckpointError(
                f"{other.where}: holds {both[0]} ({len(both)} tensors), which {whole.where} holds too; give one of them"
            )
        whole = _joined(whole, other)
    return whole


def _joined(whole: Checkpoint, other: Checkpoint) -> Checkpoint:
    tensors = whole.tensors | other.tensors
    sizes = Sizes(**{name: getattr(other.sizes, name) or getattr(whole.sizes, name) for name in vars(whole.sizes)})
    table = tensors.get("model.embed_tokens.weight")
    if sizes.llm is not None and table is not None:
        sizes.llm = replace(sizes.llm, vocab=table.shape[0])
    model = whole.model or other.model
    return Checkpoint(
        where=f"{whole.where} + {other.where}",
        tensors=tensors,
        sizes=sizes,
        model=replace(model, llm=sizes.llm) if model is not None else None,
        layouts=whole.layouts | other.layouts,
        files=whole.files | other.files,
        copies=whole.copies | other.copies,
    )


def merge_lora(checkpoint: Checkpoint) -> Checkpoint:
    """With LoRA added into the matrices it adapts; unchanged where there is none."""
    llm = checkpoint.sizes.llm
    if llm is None or llm.lora is None:
        return checkpoint
    plain = replace(llm, lora=None)
    layouts = {part: layout for part, layout in checkpoint.layouts.items() if part != "lora"}
    if layouts.get("home", {}).get("layout") == "state_dict":
        layouts["home"] = {"layout": "videoglamm"}
    return replace(
        checkpoint,
        tensors=merged(checkpoint.tensors, llm.lora),
        sizes=replace(checkpoint.sizes, llm=plain),
        model=replace(checkpoint.model, llm=plain) if checkpoint.model is not None else None,
        layouts=layouts,
    )


def only(checkpoint: Checkpoint, part: str) -> Checkpoint:
    """One part alone: "clip", "internvideo2", "sam2", or "llm" for the language model (its LoRA included).

    Raises:
      CheckpointError: the checkpoint does not hold it.
    """
    spoken = part == "llm"
    owner = "home" if spoken else part
    tensors = checkpoint.part(owner)
    if spoken:
        tensors = {name: t for name, t in tensors.items() if name.startswith(SPOKEN)}
    if not tensors:
        raise engine.CheckpointError(f"{checkpoint.where}: holds no {part}")
    layouts = {name: value for name, value in checkpoint.layouts.items() if name == ("lora" if spoken else part)}
    files = {name: path for name, path in checkpoint.files.items() if name.startswith(f"{owner}/")}
    if spoken and checkpoint.model is not None:
        files.pop("home/config.json", None)  # it is the whole model's
    return Checkpoint(
        where=checkpoint.where,
        tensors=tensors,
        sizes=Sizes(**{part: getattr(checkpoint.sizes, part)}),
        layouts=({"home": {"layout": "llm"}} if spoken else {}) | layouts,
        files=files,
    )


def with_sam2_layout(checkpoint: Checkpoint, layout: str) -> Checkpoint:
    """With "meta" or "transformers" names for its SAM2 where that is written alone; settings of the other go."""
    if checkpoint.layouts.get("sam2", {}).get("layout") == layout:
        return checkpoint
    return replace(
        checkpoint,
        tensors={name: t for name, t in checkpoint.tensors.items() if name != SAM2_PREFIX + POSITIONS_AGAIN},
        layouts=checkpoint.layouts | {"sam2": {"layout": layout, "new": True}},
        files={name: path for name, path in checkpoint.files.items() if not name.startswith("sam2/")},
    )
