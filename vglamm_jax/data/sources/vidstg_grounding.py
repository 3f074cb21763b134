"""VidSTG's annotations (facts 6.17): boxes and the time of what a question or sentence is about, for evaluation.

    processed/vidstg/vidstg_annotations/{train,val,test}.json        as the original's preproc_vidstg.py writes them:
        {"videos": [{"video_id", "original_video_id", "video_path", "frame_count", "fps", "caption", "qtype",
                     "target_id", "start_frame", "end_frame", "tube_start_frame", "tube_end_frame"}],
         "trajectories": {original_video_id: {target_id: {frame: {"bbox": [x, y, width, height]}}}},
         "obj_categories": {original_video_id: {target_id: category}}}
    vidstg/video/<video_path>

Ends are excluded. `clip` says what is shown: the "segment" the sentence was written for, or, as the original evaluates
without --tmp_loc, only the "tube", the moment itself. A video that is longer or shorter than its annotation by more
than two frames, or one in fifty, is a bad record.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from vglamm_jax.data.schema import BadRecord, Example, Obj
from vglamm_jax.data.sources import frames_rules, turns
from vglamm_jax.data.sources.lists import list_in, read_map
from vglamm_jax.data.sources.pictures import guarded, known_split, share
from vglamm_jax.data.sources.registry import WHOLE, Part
from vglamm_jax.data.sources.videos import as_long_as, file_media, span_of

SOURCE = "vidstg_grounding"
SPLITS = ("train", "val", "test")
LAYOUT = "processed/vidstg/vidstg_annotations/<split>.json, vidstg/video/<video_path>"
Clip = Literal["segment", "tube"]


def examples(
    root: Path, split: str = "test", *, clip: Clip = "segment", part: Part = WHOLE
) -> Iterator[Example | BadRecord]:
    """In the file's order, which numbers the results of the original.

    Raises:
        FileNotFoundError: the annotations are missing.
        ValueError: they are not JSON; no such split.
    """
    root, split = Path(root), known_split(split, SPLITS, SOURCE)
    file = root / f"processed/vidstg/vidstg_annotations/{split}.json"
    content = read_map(file, LAYOUT)
    for video in share(list_in(content, dict, "videos", file), part):
        yield from guarded(SOURCE, str(video.get("video_id")), _video(root, split, content, video, clip))


def _video(root: Path, split: str, content: dict, video: dict[str, Any], clip: Clip) -> Iterator[Example]:
    original, target = video["original_video_id"], str(video["target_id"])
    start, end = video["tube_start_frame"], video["tube_end_frame"]
    shown = (start, end) if clip == "tube" else (video["start_frame"], video["end_frame"])
    media = as_long_as(file_media(root, f"vidstg/video/{video['video_path']}"), video["frame_count"])
    track = content["trajectories"][original][target]
    boxes = {frame: tuple(map(float, track[str(frame)]["bbox"])) for frame in range(start, min(end, media.length))}
    span = span_of(start, end, media.fps)
    yield Example(
        id=str(video["video_id"]),
        source=SOURCE,
        split=split,
        media=dataclasses.replace(media, clip=span_of(*shown, media.fps)),
        objects=(Obj(id=target, category=content["obj_categories"][original][target], boxes=boxes),),
        turns=(turns.ground(video["caption"], span, target, video["qtype"] == "interrogative"),),
        meta={"frames_rule": frames_rules.GROUNDING, "qtype": video["qtype"], "video": original},
    )
