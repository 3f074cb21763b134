"""VideoInstruct100K (facts 6.8): questions and answers about ActivityNet videos, no masks.

    video_instruct_100k/VideoInstruct100K.json                       [{"video_id", "q", "a"}, ...]
    activitynet/videos/train/<video_id>.{mp4,mkv,webm}
    processed/video_instruct_100k/ignore_filenames.txt               names of files to leave out; may be absent

A video is one example, its questions are turns that stand alone. A missing video is a bad record; the original passes
over it in silence.
"""

from collections.abc import Iterator
from pathlib import Path

from vglamm_jax.data.schema import BadRecord, Example, Turn
from vglamm_jax.data.sources import frames_rules
from vglamm_jax.data.sources.lists import grouped, lines_of, read_list
from vglamm_jax.data.sources.pictures import guarded, known_split, share
from vglamm_jax.data.sources.registry import WHOLE, Part
from vglamm_jax.data.sources.videos import file_media, find_video

SOURCE = "video_instruct"
SPLITS = ("train",)
VIDEOS = "activitynet/videos/train"
LAYOUT = f"video_instruct_100k/VideoInstruct100K.json, {VIDEOS}/<video_id>.{{mp4,mkv,webm}}"


def examples(root: Path, split: str = "train", *, part: Part = WHOLE) -> Iterator[Example | BadRecord]:
    """Sorted by video.

    Raises:
        FileNotFoundError: the list of questions is missing.
        ValueError: it is not JSON; no such split.
    """
    root, split = Path(root), known_split(split, SPLITS, SOURCE)
    file = root / "video_instruct_100k/VideoInstruct100K.json"
    rows = grouped(read_list(file, LAYOUT, of=dict), by=lambda row: row["video_id"], path=file)
    ignored = root / "processed/video_instruct_100k/ignore_filenames.txt"
    names = set(lines_of(ignored, LAYOUT)) if ignored.exists() else set()
    for video, of_video in share(sorted(rows.items()), part):
        if not any(f"{video}{suffix}" in names for suffix in (".mp4", ".mkv", ".webm")):
            yield from guarded(SOURCE, video, _video(root, split, video, of_video))


def _video(root: Path, split: str, video: str, rows: list[dict]) -> Iterator[Example]:
    yield Example(
        id=video,
        source=SOURCE,
        split=split,
        media=file_media(root, find_video(root, VIDEOS, video)),
        turns=tuple(Turn(question=_plain(row["q"]), answer=row["a"].strip()) for row in rows),
        independent=True,
        meta={"frames_rule": frames_rules.SECOND},
    )


def _plain(question: str) -> str:
    return question.replace("<video>", "").replace("<image>", "").strip()
