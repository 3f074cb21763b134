"""`vglamm data`: look at data, and say what is wrong with it, before a model learns from it.

Each job is a module or function with `add_arguments(parser)` and `main(args) -> int`; `JOBS` lists them.
"""

import argparse
import importlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple


class Job(NamedTuple):
    name: str
    help: str
    module: str  # loaded when the job is asked for, so that `--help` of the others stays quick


JOBS = [
    Job("validate", "say what is wrong with which row", "vglamm_jax.data.command_validate"),
    Job("build", "write a data set as array_record files, for training", "vglamm_jax.data.builders.command"),
    Job("stats", "count what is there", "vglamm_jax.data.command_stats"),
    Job("make", "make clips of Moving Things, the benchmark without a download", "vglamm_jax.data.command_make"),
    Job("show", "draw examples: contact sheet PNG, videos with masks", "vglamm_jax.data.command_show"),
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    jobs = parser.add_subparsers(dest="job", metavar="JOB", required=True)
    for job in JOBS:
        module = importlib.import_module(job.module)
        sub = jobs.add_parser(
            job.name,
            help=job.help,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(sub)
        sub.set_defaults(job_module=job.module)


def main(args: argparse.Namespace) -> int:
    """Runs the job; 0 done, 1 the data has problems. Errors that stop it are ValueError or OSError."""
    return importlib.import_module(args.job_module).main(args)


def data_arguments(parser: argparse.ArgumentParser) -> None:
    """Which records: shared by all jobs that read data."""
    parser.add_argument("path", type=Path, help="a .jsonl or .json file, or a folder with such or in DAVIS' layout")
    parser.add_argument("--split", help="only this split (default: all that are found)")
    parser.add_argument(
        "--source",
        help="what lies at PATH: davis, jsonl, coco, or the name of a public set, e.g. mevis (default: find out)",
    )


def progress(rows: Iterable, what: str) -> Iterator:
    """A bar on stderr when a person looks at it."""
    from tqdm import tqdm

    return iter(tqdm(rows, desc=what, unit="row", disable=not sys.stderr.isatty(), leave=False))


def positive(text: str) -> int:
    """An argument of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)
