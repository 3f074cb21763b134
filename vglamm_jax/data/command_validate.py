"""Reads every record and says what is wrong with which: file and line, id, field, and what to do about it.

  vglamm data validate my_data/                 JSONL, COCO or YouTube-VIS json, DAVIS folder: found out by itself
  vglamm data validate my_data/train.jsonl --no-media
  vglamm data validate davis/ --decode all      every frame is decoded, not only three of each video

Exit code 0: all good, 1: there are problems, 2: nothing could be read.
"""

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from vglamm_jax.data.command import data_arguments, positive, progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    data_arguments(parser)
    parser.add_argument("--no-media", action="store_true", help="do not look at videos and pictures")
    parser.add_argument("--decode", choices=("some", "all"), default="some", help="frames to decode (default: three)")
    parser.add_argument("--max-objects", type=positive, help="[SEG] a conversation may have, e.g. 4 as the original")
    parser.add_argument("--limit", type=positive, default=50, help="show this many bad rows (default 50)")
    parser.add_argument("--json", type=Path, help="also write all problems here")


def main(args: argparse.Namespace) -> int:
    # Only now, so that `--help` loads neither NumPy nor OpenCV.
    from vglamm_jax.data.media_check import MediaCheck
    from vglamm_jax.data.sources import find

    check = None if args.no_media else MediaCheck(find.root_of(args.path), args.decode)
    rows = progress(find.rows(args.path, args.split, args.source, args.max_objects), "validating")
    total, bad, fields = 0, [], Counter()
    for row, problems in with_media(rows, check):
        total += 1
        if not problems:
            continue
        bad.append((row, problems))
        fields.update(re.sub(r"\d+", "", problem.field) for problem in problems)
        if len(bad) <= args.limit:
            print(report(row, problems), flush=True)
    print(summary(args.path, total, bad, fields, args.limit))
    if args.json:
        save(bad, total, args.json)
    return 1 if bad or not total else 0


def with_media(rows: Iterable, check) -> Iterator[tuple]:
    """Each row with all its problems, those of its media included."""
    for row in rows:
        problems = list(row.problems)
        if check is not None and row.example is not None and not any(p.field.startswith("media") for p in problems):
            problems += check(row.example.media)
        yield row, problems


def report(row, problems: list) -> str:
    lines = [f"{row.place}  id {row.id}"]
    for problem in problems:
        lines += [f"    {problem.field}: {problem.what}", f"        -> {problem.fix}"]
    return "\n".join(lines)


def summary(path: Path, total: int, bad: list, fields: Counter, limit: int) -> str:
    if not total:
        return f"{path}: no rows at all"
    if not bad:
        return f"{path}: {_count(total, 'row')}, all good"
    lines = [f"... and {_count(len(bad) - limit, 'more bad row')} (--limit)"] if len(bad) > limit else []
    lines.append(f"{path}: {_count(total, 'row')}, {len(bad)} with problems:")
    lines += [f"    {count:6d}  {field}" for field, count in fields.most_common()]
    return "\n".join(lines)


def save(bad: list, total: int, path: Path) -> None:
    content = [
        {"place": row.place, "id": row.id, "problems": [vars(problem) for problem in problems]} for row, problems in bad
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"rows": total, "bad": content}, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
