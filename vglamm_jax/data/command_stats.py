"""Counts what is there: examples, turns, objects, lengths, how large masks are; per source and split.

  vglamm data stats my_data/
  vglamm data stats mevis/ --source mevis --split train --json stats.json

"least .. median .. most" are given where there are many values; the JSON has whole histograms.
"""

import argparse
import json
from pathlib import Path

from vglamm_jax.data.command import data_arguments, progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    data_arguments(parser)
    parser.add_argument("--no-media", action="store_true", help="do not look whether videos and pictures are there")
    parser.add_argument("--json", type=Path, help="also write histograms here")


def main(args: argparse.Namespace) -> int:
    from vglamm_jax.data import stats
    from vglamm_jax.data.media_check import MediaCheck
    from vglamm_jax.data.sources import find

    check = None if args.no_media else MediaCheck(find.root_of(args.path), "exists")
    rows = progress(find.rows(args.path, args.split, args.source), "counting")
    found = stats.collect(rows, check)
    print(stats.table(found))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        content = {name: one.to_json() for name, one in found.items()}
        args.json.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0
