"""Arguments of `vglamm train`."""

import argparse
import dataclasses
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vglamm_jax.train.overrides import PREFIX
from vglamm_jax.train.preemption import Preemption

if TYPE_CHECKING:
    from vglamm_jax.train.config import TrainConfig

EXAMPLES = """\
examples:
  vglamm train --config train_moving_things                a toy on made-up videos: needs no files and no accelerator
  vglamm train --config train_lora --dry-run               what it would be: data, parameters, memory, FLOPs of a step
  vglamm train --config train_lora --config.steps=2000 --config.optimizer.learning_rate=1e-4 --config.batch_size=64
  vglamm train --config configs/my_own.py --config.workdir=runs/second --config.mesh.fsdp=8 --config.mesh.tensor=2
  bash launch/local_multiprocess.sh 2 --config train_moving_things      two processes on this machine
  on all machines of a TPU pod, beginning with what train_adapters has left in the bucket:
  bash launch/tpu_vm.sh train pod --type v5litepod-256 --spot \\
      --copy gs://BUCKET/built=data/built --copy gs://BUCKET/start=weights/start \\
      --copy gs://BUCKET/runs/adapters/model=runs/adapters/model \\
      -- --config train_lora --config.workdir=gs://BUCKET/runs/lora

The same command again goes on from the newest checkpoint in the run's folder, on any mesh and number of processes.
configs/README.md lists the configs, vglamm_jax/train/config.py their fields.
launch/README.md walks through runs on pods.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLES
    parser.add_argument("--config", required=True, help="configs/train_*.py, or a name of one: train_moving_things")
    add_overrides(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="check the config and its data, print both, train nothing"
    )
    parser.add_argument(
        "--cache-features",
        metavar="DIR",
        help="keep what the frozen encoders say of each picture here, and read it when it comes again: the same "
        "training, faster where pictures repeat (small sets, data.augment none); sets the field features",
    )
    parser.add_argument(
        "--done",
        type=Path,
        metavar="FILE",
        help="made here after the last step; a run told to end (SIGTERM) has exit code 0, too, but no such file",
    )
    many = parser.add_argument_group("several processes, the same command on each; one alone needs none of these")
    many.add_argument("--distributed", action="store_true", help="find the others as the cluster says (TPU pods, GKE)")
    many.add_argument("--coordinator", metavar="HOST:PORT", help="or say it: where the first process listens,")
    many.add_argument("--processes", type=int, help="how many there are,")
    many.add_argument("--process", type=int, help="and which this is, from 0 on")


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """`--config.KEY=VALUE` in any number; `args.overrides` is what `train.overrides.override` takes."""
    parser.add_argument(
        "--config.KEY",
        dest="unused",
        metavar="VALUE",
        help="sets a field, as in --config.steps=10; fields of fields and items of tuples too: "
        "--config.optimizer.warmup=5 --config.files.0.path=my_videos",
    )
    # argparse knows no options with names of their own: take them out before it reads the others.
    parser.set_defaults(overrides=[])
    parse = parser.parse_known_args

    def parse_with_overrides(args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None):
        args = sys.argv[1:] if args is None else args
        overrides = [arg for arg in args if arg.startswith(PREFIX)]
        namespace, rest = parse([arg for arg in args if not arg.startswith(PREFIX)], namespace)
        namespace.overrides = overrides
        return namespace, rest

    parser.parse_known_args = parse_with_overrides


def main(args: argparse.Namespace) -> int:
    """Exit code 0 also when a notice of preemption ended the run: what restarts it goes on from its checkpoint."""
    with Preemption() as preemption:
        cfg = chosen_config(args)
        if args.cache_features is not None:
            cfg = dataclasses.replace(cfg, features=args.cache_features)
        connect(args)
        from vglamm_jax.train import loop

        if args.dry_run:
            print(loop.describe(cfg))
            return 0
        if loop.train(cfg, preemption).finished and args.done is not None:
            args.done.touch()
        return 0


def chosen_config(args: argparse.Namespace) -> "TrainConfig":
    """The config that `--config` names, with every `--config.key=value` applied.

    Raises:
      FileNotFoundError, ValueError: there is no such config, it is none for training, or an override does not fit.
    """
    from vglamm_jax.config import load_config
    from vglamm_jax.train.config import TrainConfig
    from vglamm_jax.train.overrides import override

    cfg = load_config(args.config)
    if not isinstance(cfg, TrainConfig):
        raise ValueError(f"{args.config} is no training config: its get_config() returns a {type(cfg).__name__}")
    return override(cfg, args.overrides)


def connect(args: argparse.Namespace) -> None:
    """Joins the other processes, before JAX looks for devices.

    Raises:
      ValueError: only some of the three options are given.
    """
    said = {"--coordinator": args.coordinator, "--processes": args.processes, "--process": args.process}
    missing = [name for name, value in said.items() if value is None]
    alone = len(missing) == len(said) and not args.distributed
    if missing and not alone and not args.distributed:
        raise ValueError(
            f"several processes: {', '.join(missing)} missing beside {', '.join(set(said) - set(missing))}"
        )
    import jax

    settle_cpus(alone)
    if not alone:
        jax.distributed.initialize(args.coordinator, args.processes, args.process)


def settle_cpus(alone: bool) -> None:
    """Lets devices that are CPUs wait for each other without waiting for ever; before JAX looks for devices.

    A device that waits in a collective holds a thread of XLA's pool, which has one for each core: where devices are
    more, the last ones may find none, and all wait. Over gloo, between processes, it is the other way round: messages
    have no labels, so that collectives of two programs, or two threads, at a time would take each other's.
    NPROC is how XLA is told the size of the pool.
    """
    import jax

    devices = _cpu_devices()
    if not alone:
        jax.config.update("jax_cpu_enable_async_dispatch", False)
        os.environ.setdefault("NPROC", str(devices))
    elif devices > 1:
        os.environ.setdefault("NPROC", str(max(32, 4 * devices)))


def _cpu_devices() -> int:
    import jax

    forced = re.search(r"xla_force_host_platform_device_count=(\d+)", os.environ.get("XLA_FLAGS", ""))
    return max(1, int(forced[1]) if forced else jax.config.jax_num_cpu_devices)
