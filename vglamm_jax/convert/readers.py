"""Reads each kind of PyTorch checkpoint into a `Checkpoint`; everything that does not fit is reported at once.

A part on its own keeps every tensor of its file, used or not; a part that completes a VideoGLaMM folder keeps
what the complete checkpoint holds (facts 2.1), and what is left out is named.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vglamm_jax.config import VideoGlammConfig
from vglamm_jax.convert import engine, layouts, sizes, source, tables
from vglamm_jax.convert.checkpoint import Checkpoint, Sizes, adapter_rows, named_by, parameters, used
from vglamm_jax.convert.manifest import MANIFEST
from vglamm_jax.convert.rows import Row, under
from vglamm_jax.convert.sizes_transformers import IMAGE_ONLY, transformers_sam2_config
from vglamm_jax.convert.tables_hf_sam2 import HF_SAM2_IGNORED, hf_sam2
from vglamm_jax.convert.tables_sam2 import sam2 as sam2_rows
from vglamm_jax.convert.torch_io import LazyTensor, Tensors, open_tensors, wrapper_of
from vglamm_jax.models import layers
from vglamm_jax.models.videoglamm import VideoGlamm

# What of the towers' files the complete checkpoint holds (facts 2.1).
TOWERS = (
    f"{tables.CLIP_PREFIX}vision_model.",
    f"{tables.INTERNVIDEO2_PREFIX}vision_encoder.",
    f"{tables.INTERNVIDEO2_PREFIX}vision_proj.",
)
COMPANIONS = (".json", ".model", ".txt", ".yaml", ".yml", ".jinja")  # files that go with weights
MEMORY = re.compile(
    r"^(memory_|maskmem_|no_mem_pos_enc|no_obj_ptr|no_obj_embed|obj_ptr_|mask_downsample|no_memory_pos"
    r"|no_object_pointer|object_pointer_proj|occlusion_|temporal_pos)"
)


@dataclass(frozen=True)
class Companions:
    """The other sources of one conversion, and a config that overrides what files say."""

    config: VideoGlammConfig | None = None
    clip: Path | None = None
    internvideo2: Path | None = None
    sam2: Path | None = None
    left_out: list[str] = field(default_factory=list)  # filled while reading: what was not taken, and from where


def read_videoglamm(folder: Path, given: Companions) -> Checkpoint:
    """The released folder with CLIP and InternVideo2 from their own files (facts 2.1)."""
    found = source.find(folder, given.clip, given.internvideo2, given.sam2, given.config)
    opened = source.Opened(found)
    cfg = given.config or source.read_config(found, opened)
    files = source.parts(opened, cfg)
    module = layers.abstract(VideoGlamm, cfg)
    engine.check(engine.slots([row for part in files for row in part.rows], engine.leaves(module)), files)
    tensors: dict[str, LazyTensor] = dict(layouts.from_meta_sam2({} if opened.sam2_inside else opened.sam2))
    tensors |= dict(opened.home)
    towers = layouts.from_clip(opened.clip)
    if found.internvideo2 is not None:
        towers |= layouts.from_internvideo2(source.with_positions(opened.internvideo2, cfg.internvideo2))
    tensors = {name: t for name, t in tensors.items() if layouts.part_of(name) in ("home", "sam2")} | towers
    given.left_out.extend(name for name in towers if not name.startswith(TOWERS))
    beside = {"home": found.folder, "clip": found.clip, "internvideo2": found.internvideo2}
    return Checkpoint(
        where=str(folder),
        tensors={name: tensors[name] for name in ordered(cfg, tensors)},
        sizes=used(cfg),
        model=cfg,
        layouts={"home": {"layout": "videoglamm"}} | tower_layouts(found.clip, found.internvideo2),
        files=companions(beside) | ({"sam2/sam2.yaml": found.sam2_yaml} if found.sam2_yaml else {}),
        copies={name: t for name, t in opened.home.items() if layouts.part_of(name) in ("clip", "internvideo2")},
    )


def ordered(cfg: VideoGlammConfig, tensors: Mapping[str, Any]) -> list[str]:
    """Names of the complete checkpoint that are there, in the table's order, carried ones of the towers last."""
    rows = [name for row in tables.videoglamm(cfg) for name in row.names()]
    carried = [name for name in tensors if name.startswith(TOWERS) and name not in set(rows)]
    return [name for name in (*rows, *carried) if name in tensors]


def tower_layouts(clip: Path | None, internvideo2: Path | None) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    if clip is not None:
        found["clip"] = {"layout": "transformers"}
    if internvideo2 is not None:
        found["internvideo2"] = {"layout": "file", "wrapper": wrapper_of(internvideo2)}
    return found


def companions(beside: Mapping[str, Path | None]) -> dict[str, Path]:
    """Small files beside the weights of each part: `home/config.json` -> its path."""
    found = {}
    for part, path in beside.items():
        if path is not None and path.is_dir():
            names = sorted(p for p in path.iterdir() if p.is_file() and p.suffix in COMPANIONS)
            ours = (MANIFEST, "internvideo2.json", "sam2.yaml")
            found |= {f"{part}/{p.name}": p for p in names if p.name not in ours and not p.name.endswith(".index.json")}
    return found


def read_clip(folder: Path, given: Companions) -> Checkpoint:
    """A transformers `CLIPModel` or `CLIPVisionModel` folder."""
    tensors = open_tensors(folder)
    cfg = given.config.clip if given.config else sizes.clip_config(folder, -2)
    rows, extras = tables.clip(cfg), tables.clip_extras(cfg)
    whole = Sizes(clip=cfg)
    return _part(folder, "clip", whole, layouts.from_clip(tensors), tensors, rows, (*tables.CLIP_IGNORED,), extras)


def read_internvideo2(file: Path, given: Companions) -> Checkpoint:
    """A stage-2 file. Without a config its own number of frames is kept; with one, positions are interpolated."""
    tensors = open_tensors(file)
    if given.config is not None:
        cfg = given.config.internvideo2
        tensors = dict(source.with_positions(tensors, cfg))
    else:
        cfg = sizes.internvideo2_config(file, tensors)
        cfg.frames = (tensors["vision_encoder.pos_embed"].shape[1] - 1) // cfg.grid**2
    rows, extras = tables.internvideo2(cfg), tables.internvideo2_extras(cfg)
    ignored = tables.INTERNVIDEO2_IGNORED
    canonical = layouts.from_internvideo2(tensors)
    return _part(file, "internvideo2", Sizes(internvideo2=cfg), canonical, tensors, rows, ignored, extras)


def read_sam2(file: Path, given: Companions) -> Checkpoint:
    """SAM2 or SAM2.1 of any size in Meta's layout."""
    tensors = open_tensors(file)
    yaml_file = file.with_suffix(".yaml") if file.with_suffix(".yaml").is_file() else file.parent / "sam2.yaml"
    stated = yaml_file if yaml_file.is_file() else None
    cfg = given.config.sam2 if given.config else sizes.sam2_config(tensors, file, stated)
    gamma = any(name.endswith(".gamma") for name in tensors)
    rows = sam2_rows(cfg, layer_scale="gamma" if gamma else "weight")
    found = _part(file, "sam2", Sizes(sam2=cfg), layouts.from_meta_sam2(tensors), tensors, rows)
    found.layouts["sam2"] = {"layout": "meta", "wrapper": wrapper_of(file), "gamma": gamma}
    if stated is not None:
        found.files["sam2/sam2.yaml"] = stated
    return found


def read_transformers_sam2(folder: Path, given: Companions) -> Checkpoint:
    """A transformers `Sam2VideoModel` folder, or a `Sam2Model` one, which holds no memory."""
    tensors = open_tensors(folder)
    cfg = given.config.sam2 if given.config else transformers_sam2_config(folder)
    rows = hf_sam2(cfg)
    if sizes.read_json(folder / "config.json").get("model_type") == IMAGE_ONLY:
        rows = [row for row in rows if not MEMORY.match(row.key)]
    canonical = layouts.from_transformers_sam2(tensors, cfg)
    found = _part(folder, "sam2", Sizes(sam2=cfg), canonical, tensors, rows, HF_SAM2_IGNORED)
    found.layouts["sam2"] = {"layout": "transformers"}
    return found


def read_llm(folder: Path, given: Companions) -> Checkpoint:
    """A Phi-3 or Llama folder of transformers."""
    tensors = open_tensors(folder)
    cfg = sizes.llm_config(folder / "config.json", tensors, folder)
    rows = tables.llm(cfg)
    beside = [row.key for row in adapter_rows(tensors)]  # projectors, where VideoGPT+ was merged into it
    found = _part(folder, "home", Sizes(llm=cfg), dict(tensors), tensors, rows, tables.LLM_IGNORED, beside)
    found.layouts["home"] = {"layout": "llm"}
    return found


def _part(
    path: Path,
    part: str,
    whole: Sizes,
    canonical: dict[str, LazyTensor],
    tensors: Tensors,
    rows: list[Row],
    ignored: Iterable[str] = (),
    extras: Iterable[str] = (),
) -> Checkpoint:
    """A part on its own, checked under the names its file uses; what is known and unused is carried."""
    module = "llm" if part == "home" else part
    file = engine.Part(under("", f"{module}/", rows), tensors, str(path), ignored, extras)
    engine.check(engine.slots(file.rows, named_by(file.rows, parameters(whole))), [file])
    layout: dict[str, dict[str, Any]] = {part: {"layout": "transformers"}}
    if part == "internvideo2":
        layout = tower_layouts(None, path)
    return Checkpoint(
        where=str(path),
        tensors=canonical,
        sizes=whole,
        layouts=layout,
        files=companions({part: path if path.is_dir() else None}),
    )
