"""Moving Things as files: a folder that `vglamm data` and the pipeline read like anybody's own data."""

import dataclasses
import json
from pathlib import Path

from tqdm import tqdm

from vglamm_jax.data.schema import to_dict
from vglamm_jax.data.synthetic.benchmark import DEFAULTS, as_example, make_clip, name
from vglamm_jax.data.synthetic.world import Settings
from vglamm_jax.data.video_writer import write_video


def export(
    folder: str | Path,
    split: str,
    clips: int,
    *,
    seed: int = 0,
    task: str | None = None,
    settings: Settings = DEFAULTS,
    lossless: bool = True,
) -> Path:
    """Writes `<split>.jsonl` (schema `vglamm.example/1`) and `videos/<id>.mp4`; returns the JSONL.

    `lossless` keeps every value in H.264 RGB; without it any browser plays the videos, and sizes must be even.

    Raises:
        ValueError: an unknown split or task, no clips, or an odd size for lossy video.
    """
    if clips < 1:
        raise ValueError(f"{folder}: at least one clip must be exported, got {clips}")
    if not lossless and (settings.height % 2 or settings.width % 2):
        raise ValueError(f"{folder}: lossy video needs even sides, got {settings.size}; use lossless video")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    listing, partial = folder / f"{split}.jsonl", folder / f".{split}.jsonl.partial"
    with partial.open("w", encoding="utf-8") as lines:
        for index in tqdm(range(clips), desc=f"{split} clips", unit="clip", disable=None):
            clip = make_clip(split, seed, index, settings)
            example = as_example(clip, name(split, seed, index), split, task, pictures=False)
            path = write_video(folder / "videos" / f"{example.id}.mp4", clip.frames, settings.fps, lossless=lossless)
            media = dataclasses.replace(example.media, path=path.relative_to(folder).as_posix())
            lines.write(json.dumps(to_dict(dataclasses.replace(example, media=media))) + "\n")
    partial.replace(listing)
    return listing
