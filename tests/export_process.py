"""Exports a model that no step has touched but whose learnt weights were changed: alone, or as one of two processes.

python export_process.py START WORKDIR --coordinator HOST:PORT --processes 2 --process 0
"""

import argparse
import dataclasses
from pathlib import Path

import jax
import tiny_training

from vglamm_jax.config import LoraConfig, load_config
from vglamm_jax.train import mesh, start
from vglamm_jax.train import state as states
from vglamm_jax.train.command import connect
from vglamm_jax.train.config import StartConfig, TrainConfig
from vglamm_jax.train.export import export
from vglamm_jax.train.optimizer import optimizer
from vglamm_jax.train.state import State

LEARNT = ("lora", "embed_tokens", "lm_head", "text_hidden_fcs", "mask_decoder")


def config(folder: Path, workdir: Path, **changes) -> TrainConfig:
    """The published recipe on `tests/tiny_checkpoint.py`."""
    tiny = load_config("tiny")
    llm = dataclasses.replace(tiny.llm, lora=LoraConfig(rank=2, alpha=4, targets=tiny.llm.lora_targets("v_proj")))
    cfg = tiny_training.config(workdir, model=dataclasses.replace(tiny, llm=llm), trainable=LEARNT)
    return dataclasses.replace(cfg, start=StartConfig(checkpoint=str(folder)), **changes)


def changed(cfg: TrainConfig) -> State:
    """The first state, a quarter added to all that trains."""
    devices, tx = mesh.make_mesh(cfg.mesh), optimizer(cfg.optimizer, cfg.steps)
    state = states.create(start.starting_model(cfg, devices), cfg, tx, devices)
    return dataclasses.replace(state, train=jax.tree.map(lambda x: x + 0.25, state.train))


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
