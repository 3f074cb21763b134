"""Arguments of `vglamm parity`, apart from its code so that `--help` loads no JAX."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "golden",
        type=Path,
        help="golden folder: checkpoint/ clip/ internvideo2.pt case.json inputs.npz preprocessed.npz outputs.npz",
    )
    parser.add_argument(
        "--perturb",
        metavar="PARAMETER",
        help="first add noise of half its size to this parameter, e.g. llm/norm/scale: the comparison must then fail",
    )
    parser.add_argument("--stop-at-first", action="store_true", help="stop at the first stage that disagrees")
    parser.add_argument(
        "--strict",
        action="store_true",
        help="allow nothing for a SAM2 that was rounded to bfloat16 after its values were computed; else a stage of "
        "SAM2 may differ by what such rounding is measured to change, and says so",
    )
