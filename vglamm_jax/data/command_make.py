"""Makes clips of Moving Things, the benchmark that needs no download: videos with masks, captions and questions.

vglamm data make things/ --split train --clips 1000          1000 mp4 and things/train.jsonl
vglamm data make things/ --split test --clips 200            beside them; unseen combinations of colour, shape, motion
vglamm data make things/ --clips 8 --sheet                   and a picture of the first clips: things/train.png
vglamm data make big/ --clips 50 --size 128 160 --frames 32 --task segment

The same --split, --seed and sizes give the same clips on every machine. `vglamm data show FOLDER` draws them,
and training needs no files at all: the data set is called moving_things. docs/moving_things.md says what is in it.
"""

import argparse
from pathlib import Path

from vglamm_jax.data.command import positive

SHEET = 4  # clips on a sheet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="where to write; made if it is not there")
    parser.add_argument("--split", default="train", choices=["train", "validation", "test"], help="(default train)")
    parser.add_argument("--clips", type=positive, default=100, help="how many (default 100)")
    parser.add_argument("--seed", type=int, default=0, help="0 or more; another one makes other clips (default 0)")
    parser.add_argument(
        "--size", type=positive, nargs=2, default=[96, 96], metavar=("HEIGHT", "WIDTH"), help="pixels (default 96 96)"
    )
    parser.add_argument("--frames", type=positive, default=16, help="of a clip (default 16)")
    parser.add_argument(
        "--task",
        choices=["describe", "segment", "locate"],
        help="only these turns: a caption, referring expressions, or moments (default: all)",
    )
    parser.add_argument("--sheet", action="store_true", help=f"also FOLDER/SPLIT.png, a picture of {SHEET} clips")
    parser.add_argument(
        "--playable", action="store_true", help="mp4 that browsers play, a little lossy (default: every value is kept)"
    )


def main(args: argparse.Namespace) -> int:
    from vglamm_jax.data.synthetic import Settings, export, make_clip
    from vglamm_jax.data.synthetic.sheet import sheet

    settings = Settings(height=args.size[0], width=args.size[1], frames=args.frames)
    listing = export(
        args.folder,
        args.split,
        args.clips,
        seed=args.seed,
        task=args.task,
        settings=settings,
        lossless=not args.playable,
    )
    print(listing)
    if args.sheet:
        path = args.folder / f"{args.split}.png"
        sheet((make_clip(args.split, args.seed, i, settings) for i in range(min(args.clips, SHEET))), path)
        print(path)
    return 0
