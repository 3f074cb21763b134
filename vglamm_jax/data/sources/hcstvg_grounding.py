"""HC-STVG v2 (facts 6.17): boxes and the time of a person a sentence is about, in videos of 20 seconds.

    processed/hcstvg/hcstvg_annotations/{train,val}_v2_proc.json     as the original's preproc_hcstvgv2.py writes them:
        [{"video_id", "original_video_id", "video_path", "frame_count", "caption", "tube_start_frame",
          "trajectory": [[x, y, width, height], ...]}, ...]
    hcstvg/Video/<video_path>
    hcstvg/qa/<number in val>.json                                   {"Q": question, "A": answer}

`wording="question"` asks the question of the qa folder, as the original does when it evaluates; "caption" (for train
the only one) the sentence. The file counts frames from 1 (says the program that writes it), yet the original takes them
as counted from 0; protocol="reference" does so, too. The length of a video is checked as in `vidstg_grounding`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from vglamm_jax.data.prompts import Protocol
from vglamm_jax.data.schema import BadRecord, Example, Obj
from vglamm_jax.data.sources import frames_rules, turns
from vglamm_jax.data.sources.lists import read_list
from vglamm_jax.data.sources.pictures import guarded, known_split, read_json, share
from vglamm_jax.data.sources.registry import WHOLE, Part
from vglamm_jax.data.sources.videos import as_long_as, file_media, span_of

SOURCE = "hcstvg_grounding"
SPLITS = ("train", "val")
LAYOUT = "processed/hcstvg/hcstvg_annotations/<split>_v2_proc.json, hcstvg/Video/<video_path>, hcstvg/qa/<number>.json"
PERSON = "person"


def examples(
    root: Path,
    split: str = "val",
    *,
    wording: Literal["question", "caption"] = "question",
    protocol: Protocol = "default",
    part: Part = WHOLE,
) -> Iterator[Example | BadRecord]:
    """In the file's order, which numbers the questions, and the results of the original.

    Raises:
        FileNotFoundError: the annotations are missing.
        ValueError: they are not JSON; no such split.
    """
    root, split = Path(root), known_split(split, SPLITS, SOURCE)
    videos = read_list(root / f"processed/hcstvg/hcstvg_annotations/{split}_v2_proc.json", LAYOUT, of=dict)
    asks, first = wording == "question" and split == "val", 0 if protocol == "reference" else 1
    for number, video in share(enumerate(videos), part):
        question = f"hcstvg/qa/{number}.json" if asks else None
        yield from guarded(SOURCE, str(number), _video(root, split, number, video, question, first))


def _video(
    root: Path, split: str, number: int, video: dict[str, Any], question: str | None, first: int
) -> Iterator[Example]:
    """`first` is the number that the annotation gives the first frame."""
    media = as_long_as(file_media(root, f"hcstvg/Video/{video['video_path']}"), video["frame_count"])
    start = video["tube_start_frame"] - first
    boxes = {start + i: tuple(map(float, box)) for i, box in enumerate(video["trajectory"])}
    text = video["caption"] if question is None else read_json(root / question, LAYOUT)["Q"]
    span = span_of(start, start + len(video["trajectory"]), media.fps)
    yield Example(
        id=str(number),
        source=SOURCE,
        split=split,
        media=media,
        objects=(Obj(id=PERSON, category=PERSON, boxes={n: box for n, box in boxes.items() if n < media.length}),),
        turns=(turns.ground(text, span, PERSON, question is not None),),
        meta={
            "frames_rule": frames_rules.GROUNDING,
            "qtype": "declarative" if question is None else "interrogative",
            "video": video["original_video_id"],
        },
    )
