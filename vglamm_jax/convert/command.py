"""`vglamm convert` behind its arguments, which load no JAX."""

import argparse
import sys
from pathlib import Path

EXAMPLES = """\
the commands people need:
  the release, with its two towers, for JAX (tensor by tensor: 8 GB of memory are enough):
    vglamm convert VideoGLaMM/ clip-vit-large-patch14-336/ InternVideo2-stage2_1b-224p-f4.pt weights/
  back to what the original loads:
    vglamm convert weights/ VideoGLaMM-again/ --to pytorch
  parts, to start a training run with:
    vglamm convert Phi-3-mini-4k-instruct/ VideoGPT-plus_Phi3-mini-4k/mvbench/ clip-vit-large-patch14-336/ \\
        InternVideo2-stage2_1b-224p-f4.pt sam2_hiera_large.pt start/ --merge-lora
  LoRA of a trained checkpoint alone, for PEFT:
    vglamm convert trained/ adapter/ --to peft
  SAM2 alone, as Meta's sam2_*.pt:
    vglamm convert weights/ sam2/ --to pytorch --part sam2
  are these two the same? was this copy damaged?
    vglamm convert --verify VideoGLaMM/ weights/
    vglamm convert --verify weights/

Sources are recognised by their contents; any number of them become one checkpoint. Each tensor keeps its type
unless --dtype says otherwise. A result is written beside DEST and renamed at the end: DEST is whole, or not there.
"""


SHOWN = 20  # differences


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLES
    parser.add_argument(
        "paths",
        metavar="SOURCE... DEST",
        type=Path,
        nargs="+",
        help="checkpoint files and folders; the last is the result",
    )
    parser.add_argument(
        "--to",
        choices=("orbax", "pytorch", "safetensors", "peft"),
        default="orbax",
        help="orbax (default), PyTorch's .bin, safetensors, or LoRA alone in PEFT's format",
    )
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), help="default: each tensor as it is")
    parser.add_argument("--config", help="a config file or name, for sizes that the files do not say")
    parser.add_argument("--part", choices=("llm", "clip", "internvideo2", "sam2"), help="only this part of the model")
    parser.add_argument(
        "--layout", choices=("meta", "transformers"), help="names of SAM2 (default: as it came, else meta)"
    )
    parser.add_argument("--merge-lora", action="store_true", help="add LoRA into the matrices it adapts")
    parser.add_argument("--lora-alpha", type=float, help="alpha of the LoRA in a training state dict (original: 16)")
    parser.add_argument("--shard-size", type=float, default=5.0, metavar="GB", help="largest file (default 5)")
    parser.add_argument("--overwrite", action="store_true", help="replace DEST, in one step at the end")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="convert nothing: compare two checkpoints tensor by tensor, or one with its manifest",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def main(args: argparse.Namespace) -> int:
    import jax

    jax.config.update("jax_platforms", "cpu")  # no accelerator is needed, and another program may hold it
    return verify(args) if args.verify else convert(args)


def convert(args: argparse.Namespace) -> int:
    from vglamm_jax.convert.convert import convert, describe

    if len(args.paths) < 2:
        raise ValueError("give at least one SOURCE and the DEST to write, e.g. vglamm convert VideoGLaMM/ weights/")
    with bar(args, "converting") as progress:
        done = convert(
            args.paths[:-1],
            args.paths[-1],
            args.to,
            dtype=args.dtype,
            config=args.config,
            part=args.part,
            layout=args.layout,
            merge_lora=args.merge_lora,
            lora_alpha=args.lora_alpha,
            shard_bytes=int(args.shard_size * 1e9),
            overwrite=args.overwrite,
            progress=progress,
        )
    print("\n".join(describe(done)))
    return 0


def verify(args: argparse.Namespace) -> int:
    from vglamm_jax.config import load_model_config
    from vglamm_jax.convert.verify import check, compare

    if len(args.paths) > 2:
        raise ValueError(f"--verify compares two checkpoints, or one with its manifest; {len(args.paths)} were given")
    config = load_model_config(args.config) if args.config else None
    with bar(args, "comparing") as progress:
        if len(args.paths) == 1:
            count = check(args.paths[0], config, progress)
            print(f"{args.paths[0]}: {count:,} tensors as when they were written")
            return 0
        found = compare(*args.paths, config, progress)
    for line in found.differing[:SHOWN]:
        print(line)
    if len(found.differing) > SHOWN:
        print(f"... and {len(found.differing) - SHOWN:,} more")
    for where, parts in found.other_parts.items():
        print(f"not compared: {', '.join(parts)}, only in {where}")
    if not found.parts:
        print("nothing to compare: they hold different parts of the model")
    print(f"{found.same:,} tensors equal, {len(found.differing):,} different")
    return 0 if found.equal else 1


class bar:
    """A progress bar in bytes, on stderr where that is a terminal."""

    def __init__(self, args: argparse.Namespace, title: str):
        self.title, self.hidden, self.shown = title, args.quiet or not sys.stderr.isatty(), None

    def __enter__(self):
        return self.update

    def update(self, done: int, total: int) -> None:
        from tqdm import tqdm

        if self.shown is None:
            self.shown = tqdm(total=total, desc=self.title, unit="B", unit_scale=True, disable=self.hidden)
        self.shown.update(done - self.shown.n)

    def __exit__(self, *_) -> None:
        if self.shown is not None:
            self.shown.close()
