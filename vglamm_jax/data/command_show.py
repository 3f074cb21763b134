"""Draws examples: frames with masks, below them the conversation with each phrase in the colour of its mask.

vglamm data show my_data/                          a contact sheet of the first four: outputs/data/sheet.png
vglamm data show davis/ --id dog --video           and every frame of "dog" as mp4
vglamm data show my_data/ --sample 12 --seed 1     twelve drawn at random
"""

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

from vglamm_jax.data.command import data_arguments, positive, progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    data_arguments(parser)
    which = parser.add_argument_group("which examples")
    which.add_argument("--id", nargs="+", help="these")
    which.add_argument("--first", type=positive, default=4, help="the first so many (default 4)")
    which.add_argument("--sample", type=positive, help="so many at random instead")
    which.add_argument("--seed", type=int, default=0, help="of the random choice (default 0)")
    which.add_argument("--turns", type=positive, default=2, help="of an example with separate turns (default 2)")
    look = parser.add_argument_group("look")
    look.add_argument("--frames", type=positive, default=4, help="frames in a strip (default 4)")
    look.add_argument("--width", type=positive, default=1280, help="of the sheet, pixels (default 1280)")
    look.add_argument("--video", action="store_true", help="also an mp4 of each with all frames")
    look.add_argument("--out", type=Path, default=Path("outputs/data"), help="folder (default outputs/data)")


def main(args: argparse.Namespace) -> int:
    from vglamm_jax.data import show
    from vglamm_jax.data.sources import find

    root = find.root_of(args.path)
    chosen = choose(find.rows(args.path, args.split, args.source), args)
    scenes = [scene for example in chosen for scene in show.scenes(example, args.turns)]
    show.contact_sheet(scenes, root, args.out / "sheet.png", frames=args.frames, width=args.width)
    print(args.out / "sheet.png")
    for number, scene in enumerate(progress(scenes, "rendering") if args.video else ()):
        name = "".join(c if c.isalnum() or c in "-_." else "_" for c in scene.example.id)
        print(show.overlay(scene, root, args.out / f"{number:02d}_{name}.mp4"))
    return 0


def choose(rows, args: argparse.Namespace) -> list:
    """The good examples that were asked for.

    Raises:
        ValueError: an id that is not there, or nothing at all.
    """
    examples = (row.example for row in rows if row.example is not None and not row.problems)
    if args.id:
        wanted = dict.fromkeys(args.id)
        wanted |= {example.id: example for example in examples if example.id in wanted}
        missing = [id for id, example in wanted.items() if example is None]
        if missing:
            raise ValueError(f"{args.path}: no good example with the id {', '.join(missing)}; see vglamm data validate")
        return list(wanted.values())
    found = reservoir(examples, args.sample, args.seed) if args.sample else first(examples, args.first)
    if not found:
        raise ValueError(f"{args.path}: no good example to show; see vglamm data validate")
    return found


def first(examples: Iterator, count: int) -> list:
    return [example for example, _ in zip(examples, range(count))]


def reservoir(examples: Iterator, count: int, seed: int) -> list:
    """`count` of them, each as likely, without holding more."""
    draw, kept = random.Random(seed), []
    for number, example in enumerate(examples):
        place = number if number < count else draw.randrange(number + 1)
        if place < count:
            kept[place : place + 1] = [example]
    return kept
