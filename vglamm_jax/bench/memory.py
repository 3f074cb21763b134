"""`vglamm bench memory`: the peak memory of tracking does not depend on the length of the video.

Each length runs in a process of its own, on a made-up clip that is decoded, encoded, tracked and thrown away
frame by frame.
"""

import argparse
import dataclasses
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

FPS = 25.0
KIB = 1 if sys.platform != "darwin" else 1024  # ru_maxrss counts bytes there
OBJECTS = 2


@dataclasses.dataclass(frozen=True)
class Row:
    """Peak resident memory of one process, in MiB: when two frames have been tracked, and at the end."""

    frames: int
    size: str  # of the clip, height x width
    ready_mib: float
    peak_mib: float


def run(
    frames: Sequence[int] = (64, 512),
    config: str | Path = "tiny",
    size: tuple[int, int] = (480, 854),
    report: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Tracks `OBJECTS` objects through clips of these lengths, height and width, with a model of random weights.

    Raises:
      ValueError: a clip of fewer than two frames, which cannot be tracked, or a process that failed.
    """
    if min(frames) < 2:
        raise ValueError(f"tracking needs at least 2 frames, got {min(frames)}")
    rows = []
    for count in frames:
        rows.append(_measure(count, str(config), size))
        report(rows[-1])
    return rows


def _measure(frames: int, config: str, size: tuple[int, int]) -> Row:
    from vglamm_jax.data.clip_maker import make_clip

    with tempfile.TemporaryDirectory() as folder:
        clip = make_clip(Path(folder) / "clip.mp4", seconds=frames / FPS, fps=FPS, size=size)
        command = [sys.executable, "-m", __name__, str(clip), config]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"tracking {frames} frames failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    found = json.loads(done.stdout.splitlines()[-1])
    if found["frames"] != frames:
        raise ValueError(f"a clip of {frames} frames gave masks for {found['frames']}")
    return Row(frames, f"{size[0]} x {size[1]}", found["ready_mib"], found["peak_mib"])


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB / 1024


def track(clip: Path, config: str) -> dict[str, float]:
    """The measured process: every frame of a clip, masks dropped as they come.

    Two frames alone come first: they compile what tracks. What the whole clip takes beyond that is its length's.
    """
    import jax
    import numpy as np
    from flax import nnx

    from vglamm_jax.config import load_model_config
    from vglamm_jax.data.video import open_video
    from vglamm_jax.infer.track import mask_video
    from vglamm_jax.models.sam2.tracker import Sam2

    cfg = load_model_config(config).sam2
    model = jax.jit(lambda: Sam2(cfg, nnx.Rngs(0)))()
    prompts = np.random.default_rng(0).standard_normal((OBJECTS, cfg.width)).astype(np.float32)
    video = open_video(clip)

    def tracked(frames: int) -> int:
        return sum(1 for _ in mask_video(model, video, range(frames), prompts, "tracked"))

    tracked(2)
    ready = peak_mib()
    return {"frames": tracked(len(video)), "ready_mib": ready, "peak_mib": peak_mib()}


COLUMNS = {"frames": 8, "of": 12, "MiB when ready": 14, "MiB at most": 11}


def cells(row: Row) -> tuple[str, ...]:
    return str(row.frames), row.size, f"{row.ready_mib:.0f}", f"{row.peak_mib:.0f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("clip", type=Path)
    parser.add_argument("config")
    arguments = parser.parse_args()
    print(json.dumps(track(arguments.clip, arguments.config)))
