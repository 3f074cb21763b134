"""Finds the files of a checkpoint, reads its sizes, and loads it into the model.

A VideoGLaMM release is a transformers folder (language model, adapters, SAM2) plus CLIP and InternVideo2
in their own files: the towers inside the folder are not trusted, the original never used them (facts 2.1).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from vglamm_jax.config import InternVideo2Config, Sam2Config, VideoGlammConfig
from vglamm_jax.convert import engine, hf_settings, sizes, tables
from vglamm_jax.convert.chat_template import template_of
from vglamm_jax.convert.rows import under
from vglamm_jax.convert.tables_sam2 import sam2 as sam2_rows
from vglamm_jax.convert.torch_io import CheckpointError, LazyTensor, Prefixed, Tensors, open_tensors
from vglamm_jax.models import layers
from vglamm_jax.models.internvideo2 import resize_positions
from vglamm_jax.models.videoglamm import VideoGlamm

INTERNVIDEO2_NAMES = tuple(f"internvideo2{ending}" for ending in (".pt", ".pth", ".bin", ".safetensors"))
SAM2_NAMES = tuple(f"sam2{ending}" for ending in (".pt", ".pth", ".bin", ".safetensors"))


@dataclass(frozen=True)
class Sources:
    """Where each part of a checkpoint is; None where a part is not needed or lies inside the folder."""

    folder: Path  # config.json, tokenizer, weights of the language model, adapters and usually SAM2
    clip: Path | None  # folder
    internvideo2: Path | None  # file
    sam2: Path | None  # file
    sam2_yaml: Path | None
    sam2_named: bool = False  # by the user, not found beside the others


def find(
    folder: str | Path,
    clip: str | Path | None = None,
    internvideo2: str | Path | None = None,
    sam2: str | Path | None = None,
    config: VideoGlammConfig | None = None,
) -> Sources:
    """Locates every file. Paths given explicitly must exist; the others are looked for.

    `folder` is the transformers folder itself, or one with `checkpoint/ clip/ internvideo2.pt sam2.yaml`
    (and `sam2.pt`, read only if the transformers folder holds no SAM2). CLIP and InternVideo2 may also lie
    inside the folder, beside it, or where its config.json says, seen from the folder, its parent or here.

    Raises:
      FileNotFoundError: what is missing, where it was looked for, and which option names it.
    """
    root = Path(folder)
    home = root / "checkpoint" if (root / "checkpoint" / "config.json").is_file() else root
    if not (home / "config.json").is_file():
        raise FileNotFoundError(
            f"{root}: no config.json here or in checkpoint/; give the folder of the VideoGLaMM release"
        )
    said = sizes.read_json(home / "config.json")
    places = list(dict.fromkeys([root, home, home.parent, Path(".")]))
    told = config or hf_settings.chosen(said, home / "config.json")
    encoders = told.encoders if told is not None else "both"
    found_clip = found_internvideo2 = None
    if encoders != "video":
        names = ["clip", *_said(said, "image_mm_vision_tower", "image_vision_tower")]
        found_clip = _locate("CLIP", clip, places, names, "--clip FOLDER", "video", "config.json")
    if encoders != "image":
        names = [*INTERNVIDEO2_NAMES, *_said(said, "mm_vision_tower", "vision_tower")]
        found_internvideo2 = _locate("InternVideo2", internvideo2, places, names, "--internvideo2 FILE", "image")
    found_sam2 = _explicit(sam2) if sam2 else _first(places, SAM2_NAMES)
    beside = [Path(found_sam2).with_suffix(".yaml")] if found_sam2 else []
    yaml_file = next((p for p in [*beside, *(place / "sam2.yaml" for place in places)] if p.is_file()), None)
    return Sources(home, found_clip, found_internvideo2, found_sam2, yaml_file, sam2_named=sam2 is not None)


def _said(config: Mapping[str, Any], *keys: str) -> list[str]:
    """Paths a config.json names, each also by its last part alone."""
    paths = [config[key] for key in keys if isinstance(config.get(key), str) and config[key]]
    return list(dict.fromkeys([*paths, *(Path(path).name for path in paths)]))


def _explicit(path: str | Path) -> Path:
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    return Path(path)


def _first(places: Iterable[Path], names: Iterable[str], inside: str | None = None) -> Path | None:
    names = list(names)
    candidates = (place / name for place in places for name in names)
    fits = (lambda path: (path / inside).is_file()) if inside else Path.is_file
    return next((path for path in candidates if fits(path)), None)


def _locate(
    what: str,
    given: str | Path | None,
    places: list[Path],
    names: list[str],
    option: str,
    without: str,
    inside: str | None = None,
) -> Path:
    """`option` names the place, and `without` is the value of `encoders` for which none is needed."""
    if given:
        return _explicit(given)
    found = _first(places, names, inside)
    if found is None:
        raise FileNotFoundError(
            f"{what} not found: no {', '.join(names)} in {', '.join(str(p) for p in places)}; pass {option} "
            f"(to `vglamm convert`: as one more source), or a --config that says encoders={without!r}"
        )
    return found


class Opened:
    """The tensors of every file of `Sources`; only names and shapes are in memory."""

    def __init__(self, sources: Sources):
        self.sources = sources
        self.home = open_tensors(sources.folder)
        self.clip = open_tensors(sources.clip) if sources.clip else {}
        self.internvideo2 = open_tensors(sources.internvideo2) if sources.internvideo2 else {}
        inside = Prefixed(self.home, tables.SAM2_PREFIX)
        self.sam2_inside = len(inside) > 0
        if self.sam2_inside and sources.sam2_named:
            raise CheckpointError(
                f"{sources.sam2}: {sources.folder} holds a SAM2 of its own, with the mask decoder it was trained with; "
                "leave this file out"
            )
        if not self.sam2_inside and sources.sam2 is None:
            raise FileNotFoundError(
                f"{sources.folder}: holds no SAM2 ({tables.SAM2_PREFIX}*) and there is no {SAM2_NAMES[0]} beside it"
            )
        self.sam2: Tensors = inside if self.sam2_inside else open_tensors(sources.sam2)

    @property
    def sam2_source(self) -> Path:
        return self.sources.folder if self.sam2_inside else self.sources.sam2


def read_config(sources: Sources, opened: Opened | None = None) -> VideoGlammConfig:
    """The sizes of the checkpoint at `sources` (see `sizes` for where each comes from); as it says, if it says them."""
    path = sources.folder / "config.json"
    told = hf_settings.chosen(sizes.read_json(path), path)
    if told is not None:
        return told
    opened = opened or Opened(sources)
    return model_config(
        sources.folder,
        opened.home,
        sources.clip,
        sizes.internvideo2_config(sources.internvideo2, opened.internvideo2),
        sizes.sam2_config(opened.sam2, opened.sam2_source, sources.sam2_yaml),
    )


def model_config(
    folder: Path, home: Tensors, clip: Path, internvideo2: InternVideo2Config, sam2: Sam2Config
) -> VideoGlammConfig:
    """The whole model's config from the `config.json` in `folder`, CLIP's folder, and the sizes of the rest."""
    path = folder / "config.json"
    said = sizes.read_json(path)
    llm = sizes.llm_config(path, home, folder)
    return VideoGlammConfig(
        clip=sizes.clip_config(clip, said.get("mm_vision_select_layer", -2)),
        internvideo2=internvideo2,
        llm=llm,
        sam2=sam2,
        seg_token_id=sizes.setting(said, "seg_token_idx", path),
        stop_ids=_stop_ids(folder, said),
        pad_token_id=said.get("pad_token_id") or 0,
        template=template_of(folder, llm.fused),
    )


def _stop_ids(folder: Path, said: Mapping[str, Any]) -> tuple[int, ...]:
    generation = folder / "generation_config.json"
    stated = sizes.read_json(generation).get("eos_token_id") if generation.is_file() else None
    stated = stated if stated is not None else sizes.setting(said, "eos_token_id", folder / "config.json")
    return tuple(stated) if isinstance(stated, list) else (stated,)


def parts(opened: Opened, cfg: VideoGlammConfig) -> list[engine.Part]:
    """The files with the rows each of them fills, for `engine.fill`."""
    sources, towers = opened.sources, tables.towers(cfg)
    home = tables.trained(cfg) if opened.sam2_inside else tables.spoken(cfg)
    found = [engine.Part(home, opened.home, str(sources.folder), tables.VIDEOGLAMM_IGNORED)]
    if not opened.sam2_inside:
        gamma = any(name.endswith(".gamma") for name in opened.sam2)
        rows = under("", "sam2/", sam2_rows(cfg.sam2, layer_scale="gamma" if gamma else "weight"))
        found.append(engine.Part(rows, opened.sam2, str(sources.sam2)))
    if "clip" in towers:
        extras = tables.clip_extras(cfg.clip)
        found.append(engine.Part(towers["clip"], opened.clip, str(sources.clip), tables.CLIP_IGNORED, extras))
    if "internvideo2" in towers:
        tensors = with_positions(opened.internvideo2, cfg.internvideo2)
        extras = tables.internvideo2_extras(cfg.internvideo2)
        source, ignored = str(sources.internvideo2), tables.INTERNVIDEO2_IGNORED
        found.append(engine.Part(towers["internvideo2"], tensors, source, ignored, extras))
    return found


def with_positions(tensors: Tensors, target: InternVideo2Config) -> Tensors:
    """InternVideo2's tensors, the position table interpolated where the model has other frames or patches."""
    name = "vision_encoder.pos_embed"
    table = tensors.get(name)
    if table is None or table.shape[1] == target.frames * target.grid**2 + 1:
        return tensors
    grid = sizes.internvideo2_grid(tensors)
    frames, left = divmod(table.shape[1] - 1, grid**2)
    if left:
        return tensors

    def read() -> np.ndarray:
        resized = resize_positions(table.read().astype(np.float32), (frames, target.frames), (grid, target.grid))
        return np.asarray(resized)

    shape = (1, target.frames * target.grid**2 + 1, table.shape[2])
    return {**tensors, name: replace(table, shape=shape, dtype=np.dtype(np.float32), read=read)}


def load(
    folder: str | Path,
    clip: str | Path | None = None,
    internvideo2: str | Path | None = None,
    sam2: str | Path | None = None,
    config: VideoGlammConfig | None = None,
    *,
    dtype: Any = "float32",
    progress: engine.Progress | None = None,
    shardings: Any = None,
) -> tuple[VideoGlamm, VideoGlammConfig, Path]:
    """The model with its weights, its sizes, and the folder its tokenizer is in.

    `config` overrides whatever the files say. `shardings` is a tree like the model, e.g.
    `sharding.shardings(layers.abstract(...), mesh)`.

    Raises:
      FileNotFoundError, CheckpointError: one message with the file, what is wrong, and what to do.
    """
    sources = find(folder, clip, internvideo2, sam2, config)
    opened = Opened(sources)
    cfg = config if config is not None else read_config(sources, opened)
    module = layers.abstract(VideoGlamm, cfg)
    dtype = jnp.dtype(dtype)
    model = engine.fill(module, *parts(opened, cfg), dtype=dtype, progress=progress, shardings=shardings)
    return model, cfg, sources.folder


def extras(opened: Opened, cfg: VideoGlammConfig) -> Iterator[tuple[str, LazyTensor]]:
    """Carried tensors that the files have, under the names of the complete checkpoint."""
    for prefix, tensors in ((tables.CLIP_PREFIX, opened.clip), (tables.INTERNVIDEO2_PREFIX, opened.internvideo2)):
        for name in tables.videoglamm_extras(cfg):
            if name.startswith(prefix) and name.removeprefix(prefix) in tensors:
                yield name, tensors[name.removeprefix(prefix)]
