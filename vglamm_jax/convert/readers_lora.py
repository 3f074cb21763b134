"""Reads what training with LoRA leaves: a PEFT adapter, VideoGPT+, a training state dict (facts 2.6, 2.7)."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from vglamm_jax.config import LlmConfig, VideoGlammConfig
from vglamm_jax.convert import engine, layouts, sizes, source, tables
from vglamm_jax.convert.checkpoint import Checkpoint, Sizes
from vglamm_jax.convert.lora_merge import state_dict_lora
from vglamm_jax.convert.peft_io import PLAIN, PROJECTORS_FILE, read_adapter, read_videogpt
from vglamm_jax.convert.peft_names import strip_peft
from vglamm_jax.convert.readers import Companions, companions, ordered
from vglamm_jax.convert.rows import under
from vglamm_jax.convert.tables_lora import lora as lora_rows
from vglamm_jax.convert.torch_io import CheckpointError, LazyTensor, Prefixed, open_tensors
from vglamm_jax.models import layers
from vglamm_jax.models.videoglamm import VideoGlamm


def read_lora(folder: Path, given: Companions, llm: LlmConfig | None = None) -> Checkpoint:
    """A PEFT adapter folder, with the projectors of VideoGPT+ where they lie beside it.

    Args:
      llm: sizes of its language model, where that is another source of the same conversion.
    """
    videogpt = (folder / PROJECTORS_FILE).is_file()
    llm = llm or (given.config.llm if given.config else None) or _stated_llm(folder)
    if llm is None:
        raise CheckpointError(f"{folder}: an adapter needs its language model: give its folder too, or --config")
    lora, tensors = (read_videogpt if videogpt else read_adapter)(folder, replace(llm, lora=None))
    return Checkpoint(
        where=str(folder),
        tensors=tensors,
        sizes=Sizes(llm=replace(llm, lora=lora)),
        layouts={"lora": {"layout": "videogpt" if videogpt else "peft", "plain": [n for n in PLAIN if n in tensors]}},
        files=companions({"lora": folder}),
    )


def _stated_llm(folder: Path) -> LlmConfig | None:
    """Sizes of the language model from a `config.json` beside the adapter, as VideoGPT+ has it."""
    path = folder / "config.json"
    if not path.is_file():
        return None
    values = sizes.read_json(path)
    rows = LazyTensor((sizes.setting(values, "vocab_size", path), 0), np.dtype(np.float32), lambda: np.empty(0), path)
    fused = values.get("model_type") != "llama"
    names = ["model.embed_tokens.weight", *(["model.layers.0.self_attn.qkv_proj.weight"] if fused else [])]
    return sizes.llm_config(path, dict.fromkeys(names, rows), folder)


def read_state_dict(path: Path, given: Companions, alpha: float | None = None) -> Checkpoint:
    """The original's consolidated training state: the whole model, LoRA un-merged beside its matrices (facts 2.7).

    Args:
      alpha: of its LoRA, which a state dict does not say; None for the original's own.
    """
    named = open_tensors(path)
    originals = strip_peft({name: name for name in named})
    tensors = strip_peft(named)
    if given.clip is not None and not Prefixed(tensors, tables.CLIP_PREFIX).names:
        tensors |= layouts.from_clip(open_tensors(given.clip))
    if given.internvideo2 is not None and not Prefixed(tensors, tables.INTERNVIDEO2_PREFIX).names:
        tensors |= layouts.from_internvideo2(open_tensors(given.internvideo2))
    cfg = given.config or _state_config(path, tensors, given)
    cfg = replace(cfg, llm=replace(cfg.llm, lora=state_dict_lora(tensors, cfg.llm, alpha)))
    rows = [*tables.videoglamm(cfg), *under("", "llm/", lora_rows(cfg.llm))]
    ignored = (*tables.LLM_IGNORED, r"position_ids$", r"\.vision_tower\.vision_tower\.(text_model|logit_scale)")
    file = engine.Part(rows, tensors, str(path), ignored, tables.videoglamm_extras(cfg))
    module = layers.abstract(VideoGlamm, cfg)
    engine.check(engine.slots(rows, engine.leaves(module)), [file])
    known = ordered(cfg, tensors)
    return Checkpoint(
        where=str(path),
        tensors={name: tensors[name] for name in (*known, *(name for name in tensors if name not in set(known)))},
        sizes=Sizes(clip=cfg.clip, internvideo2=cfg.internvideo2, llm=cfg.llm, sam2=cfg.sam2),
        model=cfg,
        layouts={"home": {"layout": "state_dict", "names": originals}},
        files=companions({"home": _home(path)}),
    )


def _home(path: Path) -> Path | None:
    """The folder of the transformers files that belong to a state dict, if they are beside it."""
    folder = path if path.is_dir() else path.parent
    return folder if (folder / "config.json").is_file() else None


def _state_config(path: Path, tensors: dict[str, LazyTensor], given: Companions) -> VideoGlammConfig:
    """From the files beside a state dict, and the shapes of its own tensors."""
    home = _home(path)
    if home is None:
        raise CheckpointError(f"{path}: no config.json beside it; pass --config, e.g. --config videoglamm_phi3")
    clip = given.clip or next((p for p in (home / "clip", home.parent / "clip") if (p / "config.json").is_file()), None)
    if clip is None:
        raise CheckpointError(f"{path}: CLIP's sizes are not known; give its folder as a source too, or pass --config")
    yaml_file = next((p for p in (home / "sam2.yaml", home.parent / "sam2.yaml") if p.is_file()), None)
    internvideo2 = Prefixed(tensors, tables.INTERNVIDEO2_PREFIX)
    beside = given.internvideo2 or home / "internvideo2.pt"
    return source.model_config(
        home,
        tensors,
        clip,
        sizes.internvideo2_config(beside, internvideo2),
        sizes.sam2_config(Prefixed(tensors, tables.SAM2_PREFIX), path, yaml_file),
    )
