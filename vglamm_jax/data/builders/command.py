"""Write a data set as array_record files, for training.

  vglamm data build refcoco --root dataset --out built
  vglamm data build mevis --root video_dataset --out built --split train valid_u --workers 8
  vglamm data build ade20k --root dataset --out built --strict
  vglamm data build own --root my_data --out built                 your own, as docs/data_schema.md describes it

ROOT is the folder that holds the data set's own folder; the layout of the original VideoGLaMM is understood as it is.
What cannot be used is counted, named and left out; with --strict the first such record ends the build.
"""

import argparse
import collections
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vglamm_jax.data.sources.registry import SOURCES, options_of

_SHOWN = 5
_FLAGS = {"true": True, "false": False}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", choices=list(SOURCES), help="a data set of the list below")
    parser.epilog = "data sets:\n" + "\n".join(f"  {name:22}{source.about}" for name, source in SOURCES.items())
    parser.add_argument("--root", type=Path, required=True, help="folder the data set was unpacked to")
    parser.add_argument("--out", required=True, help="folder for all built data sets (OUT/NAME/SPLIT/1.0.0)")
    parser.add_argument("--split", nargs="+", default=["train"], help="the data set's splits (default: train)")
    parser.add_argument("--strict", action="store_true", help="stop at the first bad record")
    parser.add_argument("--overwrite", action="store_true", help="replace what was built before (default: keep it)")
    parser.add_argument("--workers", type=int, help="processes that read (default: 1), or tasks on Beam (default: 64)")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of the data set, e.g. instances=true for paco_lvis",
    )
    _storage_arguments(parser.add_argument_group("video files"))
    beam = parser.add_argument_group("many machines")
    beam.add_argument("--beam-runner", help="e.g. DirectRunner, FlinkRunner, DataflowRunner (needs vglamm_jax[beam])")
    beam.add_argument(
        "--beam-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="for the runner, e.g. project=my-project",
    )


def _storage_arguments(group) -> None:
    group.add_argument(
        "--fps", type=float, default=2.0, help="frames a second kept of videos without objects, 0: all (default: 2)"
    )
    group.add_argument("--short-side", type=int, default=0, help="shrink videos without objects to it, 0: no (default)")
    group.add_argument("--quality", type=int, default=95, help="of JPEG frames, 1 to 100 (default: 95)")


def main(args: argparse.Namespace) -> int:
    # Only now, so that `--help` is quick.
    from vglamm_jax.data.builders.build import build
    from vglamm_jax.data.builders.stored import Storage

    options = chosen_options(args.name, args.option)
    for split in args.split:
        report = build(
            args.name,
            args.root,
            args.out,
            split,
            workers=args.workers,
            strict=args.strict,
            overwrite=args.overwrite,
            beam_runner=args.beam_runner,
            beam_options=[f"--{option}" for option in args.beam_option],
            storage=Storage(args.fps, args.short_side, args.quality),
            options=options,
        )
        _tell(report)
    return 0


def chosen_options(name: str, texts: Sequence[str]) -> dict[str, Any]:
    """ "KEY=VALUE" texts as options of a data set; true and false are flags. Raises ValueError for other texts."""
    options: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        default = options_of(name).get(key)
        if not equals or (isinstance(default, bool) and value not in _FLAGS):
            raise ValueError(
                f"--option {text}: write {key}={'true or false' if isinstance(default, bool) else 'VALUE'}"
            )
        options[key] = _FLAGS[value] if isinstance(default, bool) else value
    return options


def _tell(report) -> None:
    there = f"{'was' if report.examples == 1 else 'were'} there already" if report.reused else "written"
    examples, bad = _count(report.examples, "example"), _count(len(report.bad), "bad record")
    print(f"{report.directory}: {examples} {there}, {bad} left out")
    for record in report.bad[:_SHOWN]:
        print(f"  {record}", file=sys.stderr)
    if len(report.bad) > _SHOWN:
        by_source = collections.Counter(record.source for record in report.bad)
        total = ", ".join(f"{source} {count}" for source, count in by_source.items())
        print(f"  ... all of them ({total}) in {report.directory}/build_report.json", file=sys.stderr)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
