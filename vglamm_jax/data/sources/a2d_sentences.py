"""A2D-Sentences (facts 6.6): actors and actions, three to five annotated frames a video.

    a2d_sentences/a2d_sentences_single_frame_{train,test}_annotations.json     [[text, video, frame, instance], ...]
    a2d_sentences/text_annotations/a2d_annotation_with_instances/<video>/<frame>.h5
    a2d_sentences/Release/clips320H/<video>.mp4

`frame` counts from 1 and has five digits as a file name. An .h5 has `instance` [n] and `reMask` [n, width, height], or
[width, height] for n = 1. A video is one example: its rows' sentences are turns that stand alone, their masks those of
the annotated frames. (The original's item lacks what its consumer reads, so that it never worked, facts 10.40.)
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vglamm_jax.data.masks import Rle, encode
from vglamm_jax.data.schema import BadRecord, Example, Obj
from vglamm_jax.data.sources import frames_rules, turns
from vglamm_jax.data.sources.lists import grouped, read_list
from vglamm_jax.data.sources.pictures import guarded, known_split, share
from vglamm_jax.data.sources.registry import WHOLE, Part
from vglamm_jax.data.sources.videos import file_media, optional_package

SOURCE = "a2d_sentences"
FOLDER = "a2d_sentences"
MASKS = f"{FOLDER}/text_annotations/a2d_annotation_with_instances"
SPLITS = ("train", "test")
LAYOUT = (
    f"{FOLDER}/a2d_sentences_single_frame_<split>_annotations.json, {MASKS}/<video>/<frame>.h5, "
    f"{FOLDER}/Release/clips320H/<video>.mp4"
)


def examples(root: Path, split: str = "train", *, part: Part = WHOLE) -> Iterator[Example | BadRecord]:
    """Videos in the order of their first row.

    Raises:
        FileNotFoundError: the list of annotations is missing.
        ValueError: it is not JSON; no such split.
        DataError: h5py is not installed.
    """
    root, split = Path(root), known_split(split, SPLITS, SOURCE)
    optional_package("h5py", "reads the masks of A2D-Sentences")
    file = root / FOLDER / f"a2d_sentences_single_frame_{split}_annotations.json"
    rows = grouped(read_list(file, LAYOUT, of=list), by=lambda row: row[1], path=file)
    for video, of_video in share(rows.items(), part):
        yield from guarded(SOURCE, video, _video(root, split, video, of_video))


def _video(root: Path, split: str, video: str, rows: list) -> Iterator[Example | BadRecord]:
    """The video's example, after what is wrong with some of its rows."""
    masks: dict[str, dict[int, Rle | None]] = {}
    sentences: dict[tuple[str, str], None] = {}
    for text, _, frame, instance in rows:
        try:
            mask = _mask(root / MASKS / video / f"{frame:05d}.h5", instance)
        except (OSError, ValueError, KeyError) as error:
            yield BadRecord(SOURCE, f"{video}/{frame}/{instance}", str(error))
        else:
            masks.setdefault(str(instance), {})[frame - 1] = encode(mask)
            sentences[turns.lower(text), str(instance)] = None
    if sentences:
        yield _example(root, split, video, masks, sentences)


def _example(root: Path, split: str, video: str, masks, sentences) -> Example:
    return Example(
        id=video,
        source=SOURCE,
        split=split,
        media=file_media(root, f"{FOLDER}/Release/clips320H/{video}.mp4"),
        objects=tuple(Obj(id=id, masks=dict(sorted(masks[id].items()))) for id in masks),
        turns=tuple(turns.segment(text, [id]) for text, id in sentences),
        independent=True,
        meta={"frames_rule": frames_rules.AROUND},
    )


def _mask(path: Path, instance: int) -> np.ndarray:
    """The mask [H, W] of an instance in one annotated frame. MATLAB wrote it, hence the axes in reverse."""
    h5py = optional_package("h5py", "reads the masks of A2D-Sentences")
    if not path.is_file():
        raise FileNotFoundError(f"its mask {path} is missing")
    with h5py.File(path, "r") as file:
        instances, masks = np.asarray(file["instance"]).ravel(), np.asarray(file["reMask"])
    found = np.flatnonzero(instances == instance)
    if not len(found):
        raise ValueError(f"{path} has no instance {instance}, only {', '.join(f'{one:g}' for one in instances)}")
    return (masks if masks.ndim == 2 else masks[found[0]]).T
