"""Arguments of `vglamm bench` and its tables: Markdown on the screen, JSON in a file."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vglamm_jax.bench import PARTS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        choices=("inference", "memory", "convert", "data"),
        help="inference: speed of each part against PyTorch; memory: peak memory of tracking by length of video; "
        "convert: a whole checkpoint to Orbax and back, against a copy; data: cost of each step of the data pipeline",
    )
    parser.add_argument("--out", type=Path, help="also write the rows as JSON here")
    speed = parser.add_argument_group("inference")
    speed.add_argument("--size", choices=("tiny", "small", "full"), default="small", help="default: small")
    speed.add_argument("--runs", type=int, default=5, help="timed runs of each (default 5)")
    speed.add_argument("--only", nargs="+", choices=PARTS, help="measure these parts only")
    length = parser.add_argument_group("memory")
    length.add_argument("--frames", type=int, nargs="+", default=[64, 512], help="lengths (default 64 512)")
    parser.add_argument("--config", help="sizes for memory, convert (default tiny) and data (default videoglamm_phi3)")
    weights = parser.add_argument_group("convert")
    weights.add_argument("--full", action="store_true", help="the published model: 5.4e9 parameters, 55 GB of disk")
    weights.add_argument("--format", choices=("safetensors", "bin"), default="safetensors", help="of the checkpoint")
    weights.add_argument(
        "--folder",
        type=Path,
        default=Path(),
        help="on the disk to measure (default: here); the work is in a new folder inside it, removed at the end",
    )


def main(args: argparse.Namespace) -> int:
    if args.runs < 1:
        raise ValueError(f"--runs must be at least 1, got {args.runs}")
    rows = {"inference": _inference, "memory": _memory, "convert": _convert, "data": _data}[args.what](args)
    if args.out:
        save(rows, args.out)
    return 0


# Each imports what it measures only now, so that `--help` loads no JAX.


def _inference(args: argparse.Namespace) -> Sequence:
    from vglamm_jax.bench import inference

    if inference.busy():
        print(f"vglamm: {inference.busy()}", file=sys.stderr)
    return inference.run(args.size, args.runs, args.only, report=table(inference.COLUMNS, inference.cells))


def _memory(args: argparse.Namespace) -> Sequence:
    from vglamm_jax.bench import memory

    return memory.run(args.frames, args.config or "tiny", report=table(memory.COLUMNS, memory.cells))


def _convert(args: argparse.Namespace) -> Sequence:
    from vglamm_jax.bench import convert

    config = "videoglamm_phi3" if args.full else args.config or "tiny"
    return convert.run(config, args.folder, args.format, report=table(convert.COLUMNS, convert.cells))


def _data(args: argparse.Namespace) -> Sequence:
    from vglamm_jax.bench import data

    return data.run(args.config or "videoglamm_phi3", report=table(data.COLUMNS, data.cells))


def table(columns: Mapping[str, int], cells: Callable[[Any], Iterable[str]]) -> Callable[[Any], None]:
    """Prints the head of a Markdown table, columns by name and width, and gives the function that prints a row."""

    def line(values: Iterable[str]) -> None:
        padded = (value.ljust(width) for value, width in zip(values, columns.values(), strict=True))
        print(f"| {' | '.join(padded)} |", flush=True)

    line(columns)
    line("-" * width for width in columns.values())
    return lambda row: line(cells(row))


def save(rows: Sequence, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([dataclasses.asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
