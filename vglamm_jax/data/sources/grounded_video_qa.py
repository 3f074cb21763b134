"""Grounded questions about ActivityNet-Entities (facts 6.16): answers with a mask in one of the segment's frames.

    grounded_video_qa/grounded_video_qa_trainval.json
        [{"video_id", "seg_idx", "qa_idx", "question", "answer": "<p> a man </p> [SEG:0] ...", "seg_token_to_obj"}, ...]
    processed/activitynet_entities/splits/<video>/<segment>/<frame:02d>.jpg                from 01 on, frame_id from 0
    processed/activitynet_entities/masks/<video>/<segment>/<qa_idx:06d>/mask.png           one a question

With one mask a question, an answer that names several objects cannot be read: a bad record (the original stops at it,
facts 10.43). An object may be named more than once, each time it is a [SEG] of the same mask.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vglamm_jax.data.markup import parse_marked
from vglamm_jax.data.masks import encode
from vglamm_jax.data.schema import BadRecord, Example, Obj
from vglamm_jax.data.sources import frames_rules, turns
from vglamm_jax.data.sources.anet_gcg import frame_number
from vglamm_jax.data.sources.lists import read_list
from vglamm_jax.data.sources.pictures import guarded, known_split, share
from vglamm_jax.data.sources.registry import WHOLE, Part
from vglamm_jax.data.sources.videos import binary_mask, frames_media, names_in

SOURCE = "grounded_video_qa"
FOLDER = "processed/activitynet_entities"
SPLITS = ("train",)
LAYOUT = (
    f"grounded_video_qa/grounded_video_qa_trainval.json, {FOLDER}/splits/<video>/<segment>/<frame>.jpg, "
    f"{FOLDER}/masks/<video>/<segment>/<question>/mask.png"
)


def examples(root: Path, split: str = "train", *, part: Part = WHOLE) -> Iterator[Example | BadRecord]:
    """In the file's order.

    Raises:
        FileNotFoundError: the list of questions is missing.
        ValueError: it is not JSON; no such split.
    """
    root, split = Path(root), known_split(split, SPLITS, SOURCE)
    rows = read_list(root / "grounded_video_qa/grounded_video_qa_trainval.json", LAYOUT, of=dict)
    for row in share(rows, part):
        id = "/".join(str(row.get(key)) for key in ("video_id", "seg_idx", "qa_idx"))
        yield from guarded(SOURCE, id, _question(root, split, id, row))


def _question(root: Path, split: str, id: str, row: dict[str, Any]) -> Iterator[Example]:
    segment = f"{row['video_id']}/{row['seg_idx']}"
    folder = f"{FOLDER}/splits/{segment}"
    frames = names_in(root / folder, LAYOUT, ".jpg")
    answer, phrases = parse_marked(row["answer"])
    objects = {one for phrase in phrases for one in phrase.objects}
    if len(objects) != 1:
        raise ValueError(f"its answer names {len(objects)} objects, but there is one mask: {row['answer']!r}")
    (target,) = objects
    number = frame_number(row["seg_token_to_obj"], target, frames, first=1)
    mask = binary_mask(root / FOLDER / f"masks/{segment}/{int(row['qa_idx']):06d}/mask.png")
    yield Example(
        id=id,
        source=SOURCE,
        split=split,
        media=frames_media(root, [f"{folder}/{frame}" for frame in frames]),
        objects=(Obj(id=target, masks={number: encode(mask)}),),
        turns=(turns.answer_with_masks(row["question"].strip(), answer, phrases),),
        meta={"frames_rule": frames_rules.ANNOTATED},
    )
