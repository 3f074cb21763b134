"""JHMDB-Sentences (facts 6.6): one actor, masked in every frame; an evaluation set, read as the split "test".

    jhmdb_sentences/jhmdb_sentences_samples_metadata.json
        [[video, "./jhmdb_sentences/Rename_Images/<action>/<video>/<frame>.png", masks, frames, text], ...]
    <masks>, as the list has it: a .mat file with `part_mask` [height, width, frames]

Paths start at the root, frames at 00001. A video is one example; the frames its rows name, those the benchmark scores,
are meta["frames"]. (The original's item lacks what its consumer reads, so that it never worked, facts 10.40.)
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from vglamm_jax.data.masks import encode
from vglamm_jax.data.schema import BadRecord, Example, Obj
from vglamm_jax.data.sources import frames_rules, turns
from vglamm_jax.data.sources.lists import grouped, read_list
from vglamm_jax.data.sources.pictures import guarded, known_split, share
from vglamm_jax.data.sources.registry import WHOLE, Part
from vglamm_jax.data.sources.videos import frames_media, optional_package

SOURCE = "jhmdb_sentences"
SPLITS = ("test",)
LAYOUT = "jhmdb_sentences/jhmdb_sentences_samples_metadata.json and the pictures and .mat files it names"
ACTOR = "actor"


def examples(root: Path, split: str = "test", *, part: Part = WHOLE) -> Iterator[Example | BadRecord]:
    """Videos in the order of their first row.

    Raises:
        FileNotFoundError: the list of samples is missing.
        ValueError: it is not JSON; no such split.
        DataError: scipy is not installed.
    """
    root, split = Path(root), known_split(split, SPLITS, SOURCE)
    optional_package("scipy", "reads the masks of JHMDB-Sentences")
    file = root / "jhmdb_sentences/jhmdb_sentences_samples_metadata.json"
    rows = grouped(read_list(file, LAYOUT, of=list), by=lambda row: row[0], path=file)
    for video, of_video in share(rows.items(), part):
        yield from guarded(SOURCE, video, _video(root, split, video, of_video))


def _video(root: Path, split: str, video: str, rows: list) -> Iterator[Example]:
    _, picture, masks, count, _ = rows[0]
    folder = PurePosixPath(picture).parent
    media = frames_media(root, [str(folder / f"{number:05d}.png") for number in range(1, count + 1)])
    inside = _part_mask(root / masks)
    wanted = sorted({int(PurePosixPath(row[1]).stem) - 1 for row in rows})
    if wanted[-1] >= len(inside):
        raise ValueError(f"frame {wanted[-1] + 1} is to be scored, but {masks} has {len(inside)} masks")
    texts = dict.fromkeys(turns.lower(row[4]) for row in rows)
    yield Example(
        id=video,
        source=SOURCE,
        split=split,
        media=media,
        objects=(Obj(id=ACTOR, masks={frame: encode(mask) for frame, mask in enumerate(inside[:count])}),),
        turns=tuple(turns.segment(text, [ACTOR]) for text in texts),
        independent=True,
        meta={"frames_rule": frames_rules.AROUND, "frames": wanted},
    )


def _part_mask(path: Path) -> np.ndarray:
    """The numbered body parts of each frame, [frames, height, width], 0 outside."""
    if not path.is_file():
        raise FileNotFoundError(f"its masks {path} are missing")
    content = optional_package("scipy.io", "reads the masks of JHMDB-Sentences").loadmat(path)
    return content["part_mask"].transpose(2, 0, 1)
