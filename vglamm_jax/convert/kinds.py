"""Recognises what a source is, and opens any number of sources as one checkpoint."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vglamm_jax.config import VideoGlammConfig
from vglamm_jax.convert import orbax_read, readers, readers_lora
from vglamm_jax.convert.checkpoint import Checkpoint, combine
from vglamm_jax.convert.orbax_io import is_orbax
from vglamm_jax.convert.peft_io import CONFIG_FILE as ADAPTER_CONFIG
from vglamm_jax.convert.readers import Companions
from vglamm_jax.convert.torch_io import CheckpointError, open_tensors

# A tensor that only this kind of file has, in the order they are looked for.
SIGNS = {
    "state_dict": "base_model.model.model.",
    "videoglamm": "model.text_hidden_fcs.",
    "llm": "model.embed_tokens.",
    "internvideo2": "vision_encoder.cls_token",
    "clip": "vision_model.embeddings.",
    "sam2": "image_encoder.trunk.",
    "transformers_sam2": "vision_encoder.backbone.",
}
READERS: Mapping[str, Callable[[Path, Companions], Checkpoint]] = {
    "clip": readers.read_clip,
    "internvideo2": readers.read_internvideo2,
    "sam2": readers.read_sam2,
    "transformers_sam2": readers.read_transformers_sam2,
    "llm": readers.read_llm,
    "videoglamm": readers.read_videoglamm,
}
TITLES = {
    "orbax": "an Orbax folder of vglamm_jax",
    "videoglamm": "the VideoGLaMM release",
    "state_dict": "a training state dict of VideoGLaMM",
    "clip": "CLIP",
    "internvideo2": "InternVideo2",
    "sam2": "SAM2 in Meta's layout",
    "transformers_sam2": "SAM2 in the layout of transformers",
    "llm": "a language model",
    "lora": "a LoRA adapter",
}


@dataclass(frozen=True)
class Opened:
    """The sources of a conversion as one checkpoint; what each was; and the tensors of theirs it has no place for."""

    checkpoint: Checkpoint
    kinds: dict[Path, str]
    left_out: list[str]


def kind_of(path: Path) -> str:
    """One of `TITLES` for a file or folder.

    Raises:
      FileNotFoundError, CheckpointError: nothing is there, or nothing that is known.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such checkpoint file or folder")
    if path.is_dir():
        if is_orbax(path):
            return "orbax"
        if (path / ADAPTER_CONFIG).is_file():
            return "lora"
        if (path / "checkpoint" / "config.json").is_file():
            return "videoglamm"
    names = list(open_tensors(path))
    for kind, sign in SIGNS.items():
        if any(name.startswith(sign) for name in names):
            return kind
    raise CheckpointError(
        f"{path}: not a checkpoint that is known here (its first tensor is {names[0]}); "
        f"known are {', '.join(TITLES.values())}"
    )


def open_checkpoint(
    sources: Sequence[str | Path], config: VideoGlammConfig | None = None, *, lora_alpha: float | None = None
) -> Opened:
    """Everything the sources hold, under canonical names.

    Args:
      sources: files and folders of any kind, each given once. CLIP, InternVideo2 and SAM2 beside a VideoGLaMM
        release are taken as its towers; an adapter as LoRA of the language model among the sources.
      config: sizes to use instead of those read from the files.
      lora_alpha: alpha of the LoRA in a training state dict, which does not say it.

    Raises:
      FileNotFoundError, CheckpointError: one message with all that is wrong.
    """
    if not sources:
        raise ValueError("no source given: name at least one checkpoint file or folder")
    kinds = {Path(path): kind_of(Path(path)) for path in sources}
    given = Companions(config, left_out=[])
    whole = [path for path, kind in kinds.items() if kind in ("videoglamm", "state_dict")]
    rest = [path for path in kinds if path not in whole]
    if len(whole) > 1:
        raise CheckpointError(f"{whole[1]}: a second whole model beside {whole[0]}; convert them one by one")
    found = []
    if whole:
        towers = {kind: path for path, kind in kinds.items() if kind in ("clip", "internvideo2", "sam2")}
        given, rest = replace(given, **towers), [path for path in rest if path not in towers.values()]
        if kinds[whole[0]] == "state_dict":
            if given.sam2 is not None:
                raise CheckpointError(f"{given.sam2}: {whole[0]} holds a SAM2 of its own; leave this file out")
            found.append(readers_lora.read_state_dict(whole[0], given, lora_alpha))
        else:
            found.append(readers.read_videoglamm(whole[0], given))
    for path in sorted(rest, key=lambda path: kinds[path] == "lora"):
        found.append(_open_part(path, kinds[path], given, found))
    return Opened(combine(found), kinds, given.left_out)


def _open_part(path: Path, kind: str, given: Companions, before: list[Checkpoint]) -> Checkpoint:
    if kind == "orbax":
        return orbax_read.read(path)
    if kind == "lora":
        llm = next((other.sizes.llm for other in before if other.sizes.llm is not None), None)
        return readers_lora.read_lora(path, given, llm)
    return READERS[kind](path, given)
