"""The finished model as an Orbax folder of `vglamm convert`, which `vglamm ask --checkpoint` takes as it is."""

import json
import shutil
from pathlib import Path

import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from vglamm_jax.config import to_json
from vglamm_jax.convert import engine
from vglamm_jax.convert.checkpoint import Sizes
from vglamm_jax.convert.orbax_io import CHUNK_BYTES, DESCRIPTION, FORMAT, nested, silent
from vglamm_jax.models.videoglamm import VideoGlamm
from vglamm_jax.train.config import TrainConfig


def export(model: VideoGlamm, cfg: TrainConfig, tokenizer: Path) -> Path:
    """Writes workdir/model, every process its own shards; what was there is replaced when all is written."""
    folder = (Path(cfg.workdir) / "model").absolute()
    partial = folder.with_name("model.partial")
    first = jax.process_index() == 0
    if first:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    _sync("export begins")
    _params(model, partial / "params")
    if first:
        shutil.copytree(tokenizer, partial / "files" / "home")
        (partial / DESCRIPTION).write_text(json.dumps(_description(cfg), indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    _sync("export is done")
    return folder


def _params(model: VideoGlamm, folder: Path) -> None:
    tree = nested({tuple(path.split("/")): leaf for path, leaf in engine.leaves(model).items()})
    args = jax.tree.map(lambda _: ocp.SaveArgs(chunk_byte_size=CHUNK_BYTES), tree)
    with silent(), ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_zarr3=True)) as checkpointer:
        checkpointer.save(folder, ocp.args.PyTreeSave(tree, save_args=args))


def _description(cfg: TrainConfig) -> dict:
    model = cfg.model
    sizes = Sizes(clip=model.clip, internvideo2=model.internvideo2, llm=model.llm, sam2=model.sam2)
    return {
        "format": FORMAT,
        "sizes": to_json(sizes),
        "model": to_json(model),
        "layouts": {"home": {"layout": "videoglamm"}},
        "tensors": [],
    }


def _sync(name: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)
