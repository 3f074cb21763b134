"""The model before the first step: its weights from a checkpoint, from parts that replace some, or at random."""

import dataclasses
import math
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from flax import nnx
from jax.sharding import Mesh

from vglamm_jax.config import VideoGlammConfig, from_json
from vglamm_jax.convert import engine, orbax_read
from vglamm_jax.convert.load import load
from vglamm_jax.convert.orbax_io import is_orbax, silent
from vglamm_jax.convert.torch_io import CheckpointError
from vglamm_jax.data.tokenizer import tiny_tokenizer
from vglamm_jax.models import layers, lora
from vglamm_jax.models.videoglamm import VideoGlamm
from vglamm_jax.sharding import shardings
from vglamm_jax.train.config import TrainConfig
from vglamm_jax.train.state import placed, placed_tree


def starting_model(cfg: TrainConfig, mesh: Mesh) -> VideoGlamm:
    """Float32, on the mesh by `sharding.RULES`; each process reads or makes its own shards.

    Raises:
      FileNotFoundError, CheckpointError: what is missing or does not fit, and what to do.
    """
    stored = _stored_config(cfg)
    model = _random(stored, mesh, cfg.seed) if cfg.start.checkpoint is None else _loaded(cfg, stored, mesh)
    for folder in cfg.start.parts:
        if stored.llm.lora is None and cfg.model.llm.lora is not None and _holds_lora(folder):
            stored = cfg.model
            model = _with_lora(model, cfg, mesh)
        model = _with_part(model, folder, mesh)
    if stored.llm.lora is None and cfg.model.llm.lora is not None:
        model = _with_lora(model, cfg, mesh)
    return model


def tokenizer_folder(cfg: TrainConfig) -> Path:
    """Where the tokenizer is; random tiny models get a toy one in the run's folder.

    Raises:
      ValueError: random weights of a vocabulary that the toy tokenizer cannot have.
    """
    if cfg.start.tokenizer is not None:
        return Path(cfg.start.tokenizer)
    if cfg.start.checkpoint is None:
        folder = Path(cfg.workdir) / "tokenizer"
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
      CheckpointError: it has LoRA, which this run would lose.
    """
    folder = cfg.start.checkpoint
    if folder is not None and is_orbax(folder):
        said = orbax_read.describe(folder)["model"]
        if said is not None and from_json(VideoGlammConfig, said).llm.lora is not None:
            if cfg.model.llm.lora is None:
                raise CheckpointError(
                    f"{folder}: has LoRA; set model.llm.lora, or merge it: vglamm convert --merge-lora"
                )
            return cfg.model
    return dataclasses.replace(cfg.model, llm=dataclasses.replace(cfg.model.llm, lora=None))


def _loaded(cfg: TrainConfig, stored: VideoGlammConfig, mesh: Mesh) -> VideoGlamm:
    start, places = cfg.start, shardings(layers.abstract(VideoGlamm, stored), mesh)
    return load(
        start.checkpoint,
        start.clip,
        start.internvideo2,
        start.sam2,
        stored,
        dtype="float32",
        shardings=places,
    )[0]


def _with_lora(model: VideoGlamm, cfg: TrainConfig, mesh: Mesh) -> VideoGlamm:
    return placed_tree(lora.attach(model, cfg.model.llm.lora, nnx.Rngs(cfg.seed)), mesh)


def _holds_lora(folder: str) -> bool:
    return any("lora_a" in name for name in _stored(folder))


def _with_part(model: VideoGlamm, folder: str, mesh: Mesh) -> VideoGlamm:
    """The model with every parameter that the folder holds taken from there.

    Raises:
      CheckpointError: the folder holds something of another shape, or nothing of this model.
    """
    stored, wanted = _stored(folder), engine.leaves(model)
    shared = {path: x for path, x in wanted.items() if path in stored}
    if not shared:
        raise CheckpointError(f"{folder}: holds no parameter of this model; give an Orbax folder of `vglamm convert`")
    places = engine.leaves(shardings(model, mesh))
    shapes = {path: jax.ShapeDtypeStruct(x.shape, jnp.float32) for path, x in shared.items()}
    arrays = orbax_read.restore_arrays(epath.Path(folder) / "params", shapes, {path: places[path] for path in shared})
    leaves = [arrays.get(path, leaf) for path, leaf in wanted.items()]
    return jax.tree.unflatten(jax.tree.structure(model), leaves)


def _stored(folder: str) -> set[str]:
    """Names of the parameters in an Orbax folder."""
    orbax_read.describe(folder)
    with silent(), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        tree = checkpointer.metadata(epath.Path(folder) / "params").item_metadata.tree
    return {"/".join(str(key.key) for key in path) for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]}


def _random(cfg: VideoGlammConfig, mesh: Mesh, seed: int) -> VideoGlamm:
    """Made array by array on the host, from the seed and the array's name alone: the same on every mesh.

    One jitted initialiser would do, too, but compiles two minutes even for a toy.
    """
    module = layers.abstract(VideoGlamm, cfg)

    def make(path: str, shape: tuple[int, ...], place) -> jax.Array:
        return placed(_initial(path, shape, np.random.default_rng((seed, zlib.crc32(path.encode())))), place)

    places = engine.leaves(shardings(module, mesh))
    leaves = [make(path, x.shape, places[path]) for path, x in engine.leaves(module).items()]
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
