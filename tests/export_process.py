"""Exports a model that no step has touched but whose learnt weights were changed: alone, or as one of two processes.

python export_process.py START WORKDIR --coordinator HOST:PORT --processes 2 --process 0
"""

import argparse
import dataclasses
from pathlib import Path

import jax
import numpy as np
import tiny_training

from vglamm_jax.config import VideoGlammConfig
from vglamm_jax.train import mesh, start, trainable
from vglamm_jax.train.command import connect
from vglamm_jax.train.config import StartConfig, TrainConfig
from vglamm_jax.train.export import export
from vglamm_jax.train.state import State

LEARNT = ("lora", "embed_tokens", "lm_head", "text_hidden_fcs", "mask_decoder")


def released() -> VideoGlammConfig:
    """The model before LoRA, its mask decoder as Meta's code can have it."""
    model = tiny_training.model()
    sam2 = dataclasses.replace(model.sam2, decoder_depth=2, decoder_heads=8)
    return dataclasses.replace(model, llm=dataclasses.replace(model.llm, lora=None), sam2=sam2)


def config(folder: Path | str | None, workdir: Path | str, **changes) -> TrainConfig:
    """The published recipe, on a checkpoint of `released()`."""
    cfg, lora = tiny_training.config(workdir, trainable=LEARNT), tiny_training.model().llm.lora
    model = released()
    model = dataclasses.replace(model, llm=dataclasses.replace(model.llm, lora=lora))
    cfg = dataclasses.replace(cfg, model=model, start=StartConfig(checkpoint=folder and str(folder)))
    return dataclasses.replace(cfg, **changes)


def changed(cfg: TrainConfig) -> State:
    """Where a run begins, a quarter added to all that trains; without an optimizer's state."""
    train, frozen = trainable.split(start.starting_model(cfg, mesh.make_mesh(cfg.mesh)), cfg)
    return State(jax.numpy.int32(0), jax.tree.map(lambda x: moved(x, 0.25), train), frozen, opt=())


def moved(x: jax.Array, by: float) -> jax.Array:
    """On the host, which compiles nothing."""
    shards = [jax.device_put(np.asarray(shard.data) + np.float32(by), shard.device) for shard in x.addressable_shards]
    return jax.make_array_from_single_device_arrays(x.shape, x.sharding, shards)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("start")
    parser.add_argument("workdir")
    parser.add_argument("--coordinator")
    parser.add_argument("--processes", type=int)
    parser.add_argument("--process", type=int)
    parser.set_defaults(distributed=False)
    args = parser.parse_args()
    connect(args)
    cfg = config(args.start, args.workdir)
    export(changed(cfg), cfg, start.tokenizer_folder(cfg))
