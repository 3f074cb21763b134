"""Trains on eight CPU devices in every layout and prints the losses as JSON: started by tests, in a process of its own.

python mesh_runs.py WORKDIR CASE...      a case is `data,fsdp,tensor[,field=value]`
"""

import itertools
import json
import sys
from pathlib import Path

import jax
import tiny_training

from vglamm_jax.cli import use_compilation_cache
from vglamm_jax.data.tokenizer import load_tokenizer
from vglamm_jax.train import command, feed, mesh, start
from vglamm_jax.train import state as states
from vglamm_jax.train.optimizer import optimizer
from vglamm_jax.train.overrides import override
from vglamm_jax.train.step import make_step

STEPS = 5


def run(workdir: Path, case: str) -> dict:
    """Losses of each step, how often the step was compiled, and how the state is spread."""
    sizes, fields = case.split(",")[:3], case.split(",")[3:]
    cfg = override(tiny_training.config(workdir), [f"--config.{field}" for field in fields])
    devices = mesh.make_mesh(
        override(cfg.mesh, [f"--config.{n}={s}" for n, s in zip(("data", "fsdp", "tensor"), sizes)]),
        jax.devices()[: int(sizes[0]) * int(sizes[1]) * int(sizes[2])],
    )
    tokenizer = load_tokenizer(start.tokenizer_folder(cfg))
    stream = feed.Feed(cfg, devices, feed.parts(cfg.mixture, (), cfg.built), tokenizer, cfg.data, cfg.batch_size)
    tx = optimizer(cfg.optimizer, cfg.steps)
    state = states.create(start.starting_model(cfg, devices), cfg, tx, devices)
    step, seen = make_step(cfg, tx, state), []
    with jax.set_mesh(devices):
        for batch, _ in itertools.islice(stream, STEPS):
            state, metrics = step(state, batch)
            seen.append({name: float(value) for name, value in metrics.items()})
    stream.close()
    leaves = jax.tree.leaves((state.train, state.opt))
    held = sum(leaf.addressable_shards[0].data.size for leaf in leaves) / sum(leaf.size for leaf in leaves)
    return {"metrics": seen, "entries": step._cache_size(), "share": held}


if __name__ == "__main__":
    use_compilation_cache()
    command.settle_cpus(alone=True)
    jax.config.update("jax_default_matmul_precision", "highest")
    print(json.dumps({case: run(Path(sys.argv[1]), case) for case in sys.argv[2:]}))
