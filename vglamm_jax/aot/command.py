"""Arguments of `vglamm aot`.

vglamm aot infer --topology v5e:1x1
vglamm aot train --config configs/train_lora.py --topology v5e:16x16
vglamm aot train --config configs/train_full.py --topology v5p:4x4x4 --config.batch_size=64
vglamm aot train --config configs/train_lora.py --topology v5e:16x16 --num-slices 2 --config.mesh.data=2
"""

import argparse
from pathlib import Path

from vglamm_jax.train.command import add_overrides, chosen_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    programs = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    text = "encoders, prefill, decode loop and tracker: do they fit together?"
    inference_arguments(programs.add_parser("infer", help=text, description=text))
    text = "the training step of a config: does it fit, and how fast would it be?"
    train_arguments(programs.add_parser("train", help=text, description=text))


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
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--markdown", type=Path, help="also add a row to the table in this file, or replace it")


def main(args: argparse.Namespace) -> int:
    """Exit code 1: the program does not fit, or the compiler could not split it well."""
    if args.what == "infer":
        from vglamm_jax.aot import inference

        return inference.main(args)
    return train(args)


def train(args: argparse.Namespace) -> int:
    from vglamm_jax.aot import training

    cfg = chosen_config(args)
    program = training.compiled_step(cfg, args.topology, args.num_slices)
    if args.hlo is not None:
        args.hlo.write_text(program.hlo, encoding="utf-8")
    print(training.summary(program))
    return 1 if program.complaints else 0
