"""Writing frames to a file browsers can play, one by one."""

import warnings
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np

TICKS = 90_000  # a second, as in MPEG
_CODECS = ("libx264", "libopenh264", "libvpx-vp9", "mpeg4")


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray],
    fps: float,
    times: Iterable[float] | None = None,
    lossless: bool = False,
) -> Path:
    """uint8 RGB [H, W, 3] frames -> an mp4 (H.264, yuv420p, an odd side padded by a pixel), written in one go.

    `times` (seconds, increasing) replaces the even spacing of `fps`. `lossless` keeps every RGB value, in a
    pixel format browsers may refuse. The file appears only when it is complete.

    Raises:
        ValueError: no frames, or FFmpeg cannot write them.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial.mp4")
    try:
        with av.open(str(partial), "w", format="mp4", options={"movflags": "faststart"}) as container:
            _encode(container, path, iter(frames), fps, times, lossless)
        partial.replace(path)
    except av.error.FFmpegError as error:
        raise _unwritten(path, error) from error
    finally:
        partial.unlink(missing_ok=True)
    return path


def _unwritten(path: Path, error: av.error.FFmpegError) -> ValueError:
    from_disk = isinstance(error, OSError)
    fix = "check its folder and the free space" if from_disk else "give frames of at most 4096 pixels a side"
    return ValueError(f"{path}: the video cannot be written ({error.strerror or error}); {fix}")


def _encode(container, path: Path, frames, fps: float, times, lossless: bool) -> None:
    first = next(frames, None)
    if first is None:
        raise ValueError(f"{path}: there are no frames to write")
    stream = _stream(container, fps, first.shape, lossless)
    times = iter(times) if times is not None else None
    frame, n = first, 0
    while frame is not None:
        picture = av.VideoFrame.from_ndarray(frame if lossless else _even(frame), format="rgb24")
        picture.pts = round((next(times) if times is not None else n / fps) * TICKS)
        picture.time_base = Fraction(1, TICKS)
        container.mux(stream.encode(picture))
        frame, n = next(frames, None), n + 1
    container.mux(stream.encode(None))


def _stream(container, fps: float, shape: tuple[int, ...], lossless: bool):
    rate = Fraction(fps).limit_denominator(1001)
    if lossless:
        stream = container.add_stream("libx264rgb", rate=rate, options={"crf": "0", "preset": "veryfast"})
        stream.pix_fmt, (stream.height, stream.width) = "rgb24", shape[:2]
    else:
        codec = _first_available()
        stream = container.add_stream(codec, rate=rate, options={"crf": "18"} if codec == "libx264" else {})
        stream.pix_fmt, stream.height, stream.width = "yuv420p", shape[0] + shape[0] % 2, shape[1] + shape[1] % 2
    stream.codec_context.time_base = Fraction(1, TICKS)
    return stream


def _first_available() -> str:
    codec = next(name for name in _CODECS if name in av.codecs_available)
    if "264" not in codec:
        warnings.warn(
            f"this build of PyAV has no H.264 encoder: writing {codec}, which not every browser plays", stacklevel=2
        )
    return codec


def _even(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(frame)
