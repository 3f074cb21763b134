"""Arguments of `vglamm bench` and its tables: Markdown on the screen, JSON in a file."""

import argparse
import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from vglamm_jax.bench import inference, memory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        choices=("inference", "memory"),
        help="inference: speed of each part against PyTorch; memory: peak memory of tracking by length of video",
    )
    parser.add_argument("--out", type=Path, help="also write the rows as JSON here")
    speed = parser.add_argument_group("inference")
    speed.add_argument("--size", choices=("tiny", "small", "full"), default="small", help="default: small")
    speed.add_argument("--runs", type=int, default=5, help="timed runs of each (default 5)")
    speed.add_argument("--only", nargs="+", choices=inference.PARTS, help="measure these parts only")
    length = parser.add_argument_group("memory")
    length.add_argument("--frames", type=int, nargs="+", default=[64, 512], help="lengths (default 64 512)")
    length.add_argument("--config", default="tiny", help="sizes of the tracker (default tiny)")


def main(args: argparse.Namespace) -> int:
    if args.runs < 1:
        raise ValueError(f"--runs must be at least 1, got {args.runs}")
    if args.what == "inference":
        show = table(inference.HEADER, inference.cells)
        rows = inference.run(args.size, args.runs, args.only, report=show)
    else:
        show = table(memory.HEADER, memory.cells)
        rows = memory.run(args.frames, args.config, report=show)
    if args.out:
        save(rows, args.out)
    return 0


def table(header: Sequence[str], cells):
    """Prints the head of a Markdown table and gives the function that prints a row."""
    widths = [max(12, len(name)) for name in header]

    def line(values: Iterable[str]) -> None:
        print("| " + " | ".join(value.ljust(width) for value, width in zip(values, widths)) + " |", flush=True)

    line(header)
    line("-" * width for width in widths)
    return lambda row: line(cells(row))


def save(rows: Sequence, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([dataclasses.asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
