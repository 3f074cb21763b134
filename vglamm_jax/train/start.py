"""The model before the first step: its weights from a checkpoint, from parts that replace some, or at random."""

import dataclasses
import functools
import math
import tempfile
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from vglamm_jax.config import LoraConfig, VideoGlammConfig, from_json
from vglamm_jax.convert import engine, manifest, orbax_read
from vglamm_jax.convert.checkpoint import Checkpoint
from vglamm_jax.convert.kinds import open_checkpoint
from vglamm_jax.convert.load import load
from vglamm_jax.convert.orbax_io import is_orbax
from vglamm_jax.convert.orbax_store import in_bucket, place
from vglamm_jax.convert.torch_io import CheckpointError
from vglamm_jax.data.tokenizer import tiny_tokenizer
from vglamm_jax.models import layers, lora
from vglamm_jax.models.videoglamm import VideoGlamm
from vglamm_jax.sharding import shardings
from vglamm_jax.train import vocabulary
from vglamm_jax.train.config import StartConfig, TrainConfig
from vglamm_jax.train.metrics import say
from vglamm_jax.train.state import placed, placed_tree
from vglamm_jax.train.trainable import group_of

LONGEST = 500  # characters of an error; a model of other sizes differs in every name


def starting_model(cfg: TrainConfig, mesh: Mesh) -> VideoGlamm:
    """Float32, on the mesh by `sharding.RULES`; each process reads or makes its own shards.

    Raises:
      FileNotFoundError, CheckpointError: what is missing or does not fit, and what to do; one line.
    """
    try:
        stored = _stored_config(cfg)
        model = _begun(cfg, stored, mesh)
        for folder in cfg.start.parts:
            if _stored_lora(folder, cfg) is not None and stored.llm.lora is None:
                stored, model = cfg.model, _with_lora(model, cfg, mesh)
            model = _with_part(model, folder, mesh, cfg.model.llm.vocab)
    except CheckpointError as error:
        text = " ".join(str(error).split())
        raise CheckpointError(text if len(text) <= LONGEST else f"{text[:LONGEST]} ...") from error
    if stored.llm.lora is None and cfg.model.llm.lora is not None:
        model = _with_lora(model, cfg, mesh)
    return model


def carried(cfg: TrainConfig) -> Checkpoint | None:
    """All that the run begins with as tensors not yet read, those of later parts instead of earlier ones.

    None where everything is made at random.

    Raises:
      FileNotFoundError, CheckpointError: it is not there any more.
    """
    start, found = cfg.start, []
    if start.checkpoint is not None:
        given = [path for path in (start.checkpoint, start.clip, start.internvideo2, start.sam2) if path is not None]
        found = [open_checkpoint(given, _stored_config(cfg)).checkpoint]
    found += [orbax_read.read(Path(folder)) for folder in start.parts]
    return (
        functools.reduce(lambda a, b: dataclasses.replace(a, tensors=a.tensors | b.tensors), found) if found else None
    )


def check(cfg: TrainConfig) -> None:
    """What can be said of the weights before they are read.

    Raises:
      FileNotFoundError, CheckpointError: a folder is not there, is none of Orbax, or has another LoRA.
    """
    for name, folder in named_folders(cfg.start).items():
        if not Path(folder).exists():
            raise FileNotFoundError(f"{name}={folder}: no such file or folder here; copy it here, or name another")
    _stored_config(cfg)
    for folder in cfg.start.parts:
        _stored_lora(folder, cfg)


def named_folders(start: StartConfig) -> dict[str, str]:
    """Field -> folder or file, `start.parts.0` and so on, of those that are given."""
    single = {f"start.{name}": getattr(start, name) for name in ("checkpoint", "clip", "internvideo2", "sam2")}
    single |= {"start.tokenizer": start.tokenizer}
    several = {f"start.parts.{i}": folder for i, folder in enumerate(start.parts)}
    return {name: folder for name, folder in (single | several).items() if folder is not None}


def tokenizer_folder(cfg: TrainConfig, home: str | Path | None = None) -> Path:
    """Where the tokenizer is; random tiny models get a toy one in `home`, the run's folder if not given.

    Raises:
      ValueError: random weights of a vocabulary that the toy tokenizer cannot have.
    """
    if cfg.start.tokenizer is not None:
        return Path(cfg.start.tokenizer)
    if cfg.start.checkpoint is None:
        home = cfg.workdir if home is None else home
        home = tempfile.mkdtemp(prefix="vglamm-") if in_bucket(home) else home
        folder = Path(home) / "tokenizer"
        if (folder / "tokenizer.model").is_file():
            return folder
        return tiny_tokenizer(folder, cfg.model.llm.vocab)
    root = Path(cfg.start.checkpoint)
    if is_orbax(root):
        return root / "files" / "home"
    return root / "checkpoint" if (root / "checkpoint" / "config.json").is_file() else root


def _stored_config(cfg: TrainConfig) -> VideoGlammConfig:
    """The model as the checkpoint holds it: without LoRA, unless it was trained with it before.

    Raises:
      CheckpointError: it has another LoRA, or one that this run would lose.
    """
    folder = cfg.start.checkpoint
    if folder is not None and is_orbax(folder) and _stored_lora(folder, cfg) is not None:
        return cfg.model
    return dataclasses.replace(cfg.model, llm=dataclasses.replace(cfg.model.llm, lora=None))


def _stored_lora(folder: str, cfg: TrainConfig) -> LoraConfig | None:
    """The LoRA in an Orbax folder, which must be that of the config but for its dropout."""
    said, wanted = (orbax_read.describe(folder)["sizes"]["llm"] or {}).get("lora"), cfg.model.llm.lora
    if said is None:
        return None
    if wanted is None:
        raise CheckpointError(f"{folder}: has LoRA; set model.llm.lora, or merge it: vglamm convert --merge-lora")
    found = dataclasses.replace(from_json(LoraConfig, said), dropout=wanted.dropout)
    if found != dataclasses.replace(wanted, targets=tuple(wanted.targets)):
        raise CheckpointError(
            f"{folder}: its LoRA has {_of(found)}; model.llm.lora has {_of(wanted)}: make them the same, or merge it: "
            "vglamm convert --merge-lora"
        )
    return found


def _of(lora: LoraConfig) -> str:
    return f"rank {lora.rank}, alpha {lora.alpha:g}, targets {','.join(lora.targets)}" + ", rslora" * lora.rslora


def _begun(cfg: TrainConfig, stored: VideoGlammConfig, mesh: Mesh) -> VideoGlamm:
    """The model before parts replace anything."""
    start, module = cfg.start, layers.abstract(VideoGlamm, stored)
    if start.checkpoint is None:
        return _filled(module, {}, mesh, cfg.seed)
    if is_orbax(start.checkpoint) and orbax_read.describe(start.checkpoint)["model"] is None:
        _all_learnt_or_there(cfg, module)
        return _filled(module, _restored(start.checkpoint, module, mesh, stored.llm.vocab), mesh, cfg.seed)
    towers = start.clip, start.internvideo2, start.sam2
    return load(start.checkpoint, *towers, stored, dtype="float32", shardings=shardings(module, mesh))[0]


def _all_learnt_or_there(cfg: TrainConfig, module: VideoGlamm) -> None:
    """A folder of towers and a language model holds no adapters: they must be learnt, or come from parts."""
    there = set().union(*map(orbax_read.stored, (cfg.start.checkpoint, *cfg.start.parts)))
    lost = [path for path in engine.leaves(module) if path not in there and not group_of(path, cfg.trainable)]
    if lost:
        raise CheckpointError(
            f"{cfg.start.checkpoint}: has no {manifest.listed(lost, 3)}, and they do not train; name what holds them "
            "in start.parts, or their group in trainable"
        )


def _with_lora(model: VideoGlamm, cfg: TrainConfig, mesh: Mesh) -> VideoGlamm:
    return placed_tree(lora.attach(model, cfg.model.llm.lora, nnx.Rngs(cfg.seed)), mesh)


def _with_part(model: VideoGlamm, folder: str, mesh: Mesh, vocab: int) -> VideoGlamm:
    """The model with every parameter that the folder holds taken from there.

    Raises:
      CheckpointError: the folder holds something of another shape, or nothing of this model.
    """
    arrays = _restored(folder, model, mesh, vocab)
    if not arrays:
        raise CheckpointError(f"{folder}: holds no parameter of this model; give an Orbax folder of `vglamm convert`")
    leaves = [arrays.get(path, leaf) for path, leaf in engine.leaves(model).items()]
    return jax.tree.unflatten(jax.tree.structure(model), leaves)


def _restored(folder: str, model: VideoGlamm, mesh: Mesh, vocab: int) -> dict[str, jax.Array]:
    """By path what an Orbax folder holds of a model of `vocab` tokens, float32 and in place."""
    there, places = orbax_read.stored(folder), engine.leaves(shardings(model, mesh))
    wanted = {
        path: jax.ShapeDtypeStruct(x.shape, jnp.float32, sharding=places[path])
        for path, x in engine.leaves(model).items()
        if path in there
    }
    stored = {path: x.update(shape=vocabulary.stored_shape(path, x.shape, there[path])) for path, x in wanted.items()}
    arrays = orbax_read.restore_arrays(
        place(folder) / "params", stored, {path: x.sharding for path, x in stored.items()}
    )
    llm = orbax_read.describe(folder)["sizes"]["llm"]
    if llm is None or llm["vocab"] == vocab or not vocabulary.AXES.keys() & arrays.keys():
        return arrays
    done = "the new ones begin as the mean of the old" if llm["vocab"] < vocab else "the last ones go"
    say(f"{folder}: knows {llm['vocab']:,} tokens, this model {vocab:,}: {done}")
    return vocabulary.resized(arrays, llm["vocab"], vocab, wanted)


def _filled(module: VideoGlamm, found: dict[str, jax.Array], mesh: Mesh, seed: int) -> VideoGlamm:
    """The model with arrays found, the others made on the host from the seed and their names alone, one by one.

    So they are the same on every mesh. One jitted initialiser would do, too, but compiles two minutes even for a toy.
    """

    def make(path: str, shape: tuple[int, ...], place) -> jax.Array:
        return placed(_initial(path, shape, np.random.default_rng((seed, zlib.crc32(path.encode())))), place)

    places = engine.leaves(shardings(module, mesh))
    leaves = [
        found[path] if path in found else make(path, x.shape, places[path]) for path, x in engine.leaves(module).items()
    ]
    return jax.tree.unflatten(jax.tree.structure(module), leaves)


def _initial(path: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    name = path.rpartition("/")[2]
    if name in ("scale", "ls1", "ls2"):
        return np.ones(shape, np.float32)
    if name == "bias":
        return np.zeros(shape, np.float32)
    fan_in = math.prod(shape[-4 if len(shape) >= 4 else -2 : -1])
    deviation = fan_in**-0.5 if name == "kernel" else 0.02
    return rng.normal(0, deviation, shape).astype(np.float32)
