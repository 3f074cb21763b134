"""The training step of a config on a topology, compiled and read: what `vglamm aot train` reports."""

import dataclasses

from vglamm_jax.aot import report, training
from vglamm_jax.aot.compiling import Compiled, compiled
from vglamm_jax.aot.topology import topology_devices
from vglamm_jax.chips import of_topology
from vglamm_jax.convert.engine import leaves
from vglamm_jax.train import flops
from vglamm_jax.train.config import TrainConfig
from vglamm_jax.train.mesh import make_mesh


def train_step(cfg: TrainConfig, name: str, topology: str, slices: int = 1) -> tuple[report.Result, Compiled]:
    """The step at the config's longest rows; `name` is what the report calls the config.

    Raises:
      ValueError: an unknown topology, or one without published figures; a mesh or batch that does not divide;
        `DoesNotFit`, more memory than a chip has. ModuleNotFoundError: no libtpu.
    """
    of_topology(topology)
    cfg = dataclasses.replace(cfg, mesh=dataclasses.replace(cfg.mesh, slices=slices))
    mesh = make_mesh(cfg.mesh, topology_devices(topology, slices))
    program = compiled(training.lowered(cfg, mesh))
    work = flops.of_step(cfg, cfg.data.pack.lengths[-1], leaves(training.abstract_state(cfg, mesh).train))
    return report.result(name, topology, slices, mesh, cfg.batch_size, program, work), program
