"""From the `Media` of an example to frames: a video file, a list of pictures, or pictures in memory."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from vglamm_jax.data.image_files import ImageFiles, decode_image
from vglamm_jax.data.media import Video, VideoError
from vglamm_jax.data.schema import Media
from vglamm_jax.data.video import FOLDER_FPS, open_video


@dataclasses.dataclass(kw_only=True, eq=False)
class EncodedFrames(Video):
    """A JPEG or PNG in memory for each frame."""

    encoded: Sequence[bytes]

    def _decode(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        for i in indices:
            yield decode_image(np.frombuffer(self.encoded[i], np.uint8), f"{self.path}: frame {i}")


@dataclasses.dataclass(kw_only=True, eq=False)
class DecodedFrames(Video):
    """Pixels in memory, uint8 [T, H, W, 3]."""

    pixels: np.ndarray

    def _decode(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        return iter(self.pixels[indices])


def decoded_frames(media: Media, pixels: np.ndarray, name: str = "frames in memory") -> DecodedFrames:
    """The frames of an example whose source made them.

    Raises:
        VideoError: they are not what the example says.
    """
    expected = (media.length, *media.size, 3)
    if pixels.shape != expected:
        raise VideoError(f"{name}: the frames are {list(pixels.shape)}, but the example says {list(expected)}")
    fps = media.fps or FOLDER_FPS
    times = np.arange(media.length) / fps
    return DecodedFrames(path=Path(name), size=media.size, fps=fps, timestamps=times, kind=media.kind, pixels=pixels)


def open_media(media: Media, root: str | Path, name: str = "frames in memory") -> Video:
    """The frames of an example, `Video.frames` decodes those asked for; frame numbers are those of its masks.

    `name` is what errors call pictures in memory. `clip` is the caller's business (`window`).

    Raises:
        VideoError: missing or unreadable, or of another size or length than the example says.
    """
    root = Path(root)
    fps = media.fps or FOLDER_FPS
    known = {"size": media.size, "fps": fps, "timestamps": np.arange(media.length) / fps, "kind": media.kind}
    if media.encoded:
        return EncodedFrames(path=Path(name), encoded=media.encoded, **known)
    if media.frames:
        return ImageFiles(
            path=root / Path(media.frames[0]).parent, files=[root / name for name in media.frames], **known
        )
    if not media.path:
        raise VideoError(f'{name}: no pictures; give the example\'s media a "path" or "frames"')
    video = open_video(root / media.path, source_fps=fps)
    if video.size != tuple(media.size) or len(video) != media.length:
        raise VideoError(
            f"{root / media.path}: has {len(video)} frames of {video.size[1]}x{video.size[0]}, but the example says "
            f"{media.length} of {media.size[1]}x{media.size[0]}; correct its size and length, or the file"
        )
    return video


def window(media: Media, video: Video) -> np.ndarray:
    """Numbers of the frames the example is about, int64 [N]: those inside `clip`, or all.

    Raises:
        VideoError: no frame lies in the clip.
    """
    if media.clip is None:
        return np.arange(len(video))
    start, end = media.clip
    inside = np.flatnonzero((video.timestamps >= start) & (video.timestamps < end))
    if not len(inside):
        raise VideoError(
            f"{video.path}: no frame between {start:g} s and {end:g} s; the video lasts {video.timestamps[-1]:.2f} s"
        )
    return inside
