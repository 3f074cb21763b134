"""Opening any kind of video and choosing its frames (facts 3.1).

    video = open_video("clip.mp4")
    tracked = sample(video)                  # one frame a second, at most 64
    seen = encoder_frames(len(tracked), 16)  # which of those the encoders see
    for frame in video.frames(tracked): ...  # uint8 [H, W, 3], decoded one by one

Nothing but the frame in hand is kept in memory. Frames are addressed by number in order of presentation, so that
files with a varying frame rate keep their true time stamps.
"""

from pathlib import Path

import numpy as np

from vglamm_jax.data.image_files import FOLDER_FPS, SUFFIXES, open_folder, open_image
from vglamm_jax.data.media import Video, VideoError
from vglamm_jax.data.video_file import open_video_file

__all__ = ["FOLDER_FPS", "Video", "VideoError", "encoder_frames", "open_video", "sample"]


def open_video(path: str | Path, *, source_fps: float = FOLDER_FPS, allow_truncated: bool = False) -> Video:
    """A video file, a folder of pictures, or a single picture (animated ones are videos).

    A folder does not say how fast it was filmed: `source_fps` does, 30 unless given. A file that ends early is an error
    unless `allow_truncated`, then it has the frames that can be read.

    Raises:
        VideoError: missing, unreadable, damaged, cut short, empty, or pictures of different sizes.
    """
    address = "://" in str(path)
    path = Path(path)
    if address:
        raise VideoError(f"{path}: addresses are not opened; download the video and give the file")
    if not path.exists():
        raise VideoError(f"{path}: no such file or folder; check the path")
    if source_fps <= 0:
        raise VideoError(f"{path}: the source frame rate must be above 0, got {source_fps}")
    if path.is_dir():
        return open_folder(path, source_fps)
    if not path.stat().st_size:
        raise VideoError(f"{path}: the file is empty; copy or download it again")
    if path.suffix.lower() in SUFFIXES:
        return open_image(path)
    return open_video_file(path, allow_truncated)


def sample(
    video: Video,
    fps: float = 1.0,
    stride: int | None = None,
    max_frames: int | None = 64,
    every_frame: bool = False,
    start: float | None = None,
    end: float | None = None,
) -> np.ndarray:
    """Indices of the frames to track, int64 [T], increasing.

    Every `stride`-th frame, by default as many frames as make `fps` a second; more than `max_frames` (None: no limit)
    are thinned evenly. `every_frame` takes them all. `start` and `end` are seconds, both included.
    The original's stride of 0 below half a frame a second is 1 here.

    Raises:
        VideoError: no frame lies between start and end, or a number is not positive or not finite.
    """
    numbers = [number for number in (fps, stride, max_frames) if number is not None]
    if not all(0 < number < np.inf for number in numbers):
        said = f"{fps}, {stride}, {max_frames}"
        raise VideoError(f"{video.path}: fps, stride and max_frames must be above 0 and finite, got {said}")
    window = _window(video, start, end)
    if every_frame:
        return window
    step = max(1, round(min(video.fps / fps, len(window)))) if stride is None else stride
    chosen = window[::step]
    if max_frames is not None and len(chosen) > max_frames:
        chosen = chosen[np.linspace(0, len(chosen) - 1, max_frames, dtype=np.int64)]
    return chosen


def encoder_frames(count: int, wanted: int = 16) -> np.ndarray:
    """Which of `count` tracked frames the encoders see, int64 [wanted]: spread evenly, or the last one repeated."""
    if count > wanted:
        return np.linspace(0, count - 1, wanted, dtype=np.int64)
    return np.minimum(np.arange(wanted), count - 1)


def _window(video: Video, start: float | None, end: float | None) -> np.ndarray:
    start = 0.0 if start is None else start
    end = np.inf if end is None else end
    # Half a tick of a typical container, so that 0.1 finds a frame at 0.1 seconds.
    inside = np.flatnonzero((video.timestamps >= start - 5e-4) & (video.timestamps <= end + 5e-4))
    if not len(inside):
        raise VideoError(
            f"{video.path}: no frame between {start:g} s and {end:g} s; the video lasts {video.timestamps[-1]:.2f} s"
        )
    return inside
