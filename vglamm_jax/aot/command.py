"""Arguments of `vglamm aot`.

vglamm aot infer --topology v5e:1x1
vglamm aot train --config configs/train_lora.py --topology v5e:16x16
vglamm aot train --config configs/train_full.py --topology v5p:4x4x4 --config.batch_size=64
vglamm aot train --config configs/train_lora.py --topology v5e:16x16 --num-slices 2 --config.batch_size=512
"""

import argparse
import dataclasses
from collections.abc import Iterable
from pathlib import Path

from vglamm_jax.train.command import add_overrides, chosen_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    programs = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    text = "encoders, prefill, decode loop and tracker: do they fit together?"
    inference_arguments(programs.add_parser("infer", help=text, description=text))
    text = "the training step of a config: does it fit, and how fast would it be?"
    train_arguments(programs.add_parser("train", help=text, description=text))
    text = "a Markdown table of what `aot train --json` has written"
    table_arguments(programs.add_parser("table", help=text, description=text))


def inference_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--topology", default="v5e:1x1", help="e.g. v5e:1x1, v5e:2x2, v5p:2x2x1 (default v5e:1x1)")
    parser.add_argument("--config", type=Path, default=Path("configs/videoglamm_phi3.py"))
    parser.add_argument("--prompt", type=int, default=3400, help="tokens of the prompt, visual ones included")
    parser.add_argument("--cache", type=int, default=4600, help="positions of the KV cache")
    parser.add_argument("--objects", type=int, default=4, help="objects tracked at once")
    parser.add_argument("--frames", type=int, default=1, help="frames encoded at once")
    parser.add_argument("--json", type=Path, help="also write the table here")


def train_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, help="configs/train_*.py, or a name of one: train_lora")
    add_overrides(parser)
    parser.add_argument("--topology", required=True, help="e.g. v5e:4x4, v5e:16x16, v5p:4x4x4")
    parser.add_argument(
        "--num-slices", type=int, default=1, help="so many of them, joined by the data-centre network (default 1)"
    )
    parser.add_argument("--hlo", type=Path, help="also write the compiled program's text here")
    parser.add_argument("--json", type=Path, help="also write the figures here, for `vglamm aot table`")


def table_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=Path, nargs="+", help="files of `vglamm aot train --json`, a row each")
    parser.add_argument("--into", type=Path, help="put it between the marks in this file, as in launch/README.md")
    parser.add_argument("--markdown", type=Path, help="write it as a file of its own")


def main(args: argparse.Namespace) -> int:
    """Exit code 1: the program does not fit, or the compiler could not split it well."""
    if args.what == "infer":
        from vglamm_jax.aot import inference

        make_folders([args.json])
        return inference.main(args)
    return train(args) if args.what == "train" else table(args)


def make_folders(files: Iterable[Path | None]) -> None:
    """Those that the files will be in, before anything takes long.

    Raises:
      OSError: one cannot be made, or a file is a folder.
    """
    for file in filter(None, files):
        if file.is_dir():
            raise IsADirectoryError(f"{file} is a folder; name a file in it")
        file.parent.mkdir(parents=True, exist_ok=True)


def train(args: argparse.Namespace) -> int:
    from vglamm_jax.aot import compiling, report, training
    from vglamm_jax.train.memory import DoesNotFit

    cfg = chosen_config(args)
    if args.num_slices > 1:
        cfg = dataclasses.replace(cfg, mesh=dataclasses.replace(cfg.mesh, slices=args.num_slices))
    mesh = training.topology_mesh(cfg, args.topology)
    make_folders([args.hlo, args.json])
    try:
        program = compiling.compiled(training.lowered(cfg, mesh))
    except DoesNotFit as error:
        print(f"{args.config} on {args.topology}: DOES NOT FIT: {error}")
        return 1
    if args.hlo is not None:
        args.hlo.write_text(program.hlo, encoding="utf-8")
    name, work = Path(args.config).name.removesuffix(".py"), training.model_flops(cfg)
    found = report.result(name, args.topology, cfg.mesh.slices, mesh, cfg.batch_size, program, work)
    report.show(found)
    if args.json is not None:
        report.save(found, args.json)
    return 1 if found.complaints or not found.fits else 0


def table(args: argparse.Namespace) -> int:
    from vglamm_jax.aot import report

    found = [report.load(path) for path in args.results]
    make_folders([args.markdown])
    if args.into is not None:
        report.write_table(found, args.into)
    if args.markdown is not None:
        args.markdown.write_text(report.table(found), encoding="utf-8")
    if args.into is None and args.markdown is None:
        print(report.table(found), end="")
    return 0
