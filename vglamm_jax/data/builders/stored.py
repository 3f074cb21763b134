"""An example as it is stored: its JSON, and every frame as the bytes of a picture beside it."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from vglamm_jax.data.check import validate
from vglamm_jax.data.image_files import decode_image
from vglamm_jax.data.masks import Rle
from vglamm_jax.data.media import Video, VideoError
from vglamm_jax.data.open_media import open_media
from vglamm_jax.data.schema import BadRecord, Example, Media, from_dict, to_dict


@dataclasses.dataclass(frozen=True)
class Storage:
    """How video files are stored; pictures keep their bytes.

    fps: frames a second of videos without objects (the original reads them at 1 a second, facts 6.8 and 6.9); 0 is
        all. Where objects have masks or boxes every frame is kept, since frame numbers mean those of the file.
        What is stored counts as evenly spaced in time.
    short_side: videos without objects are made smaller to this many pixels; 0 leaves them.
    quality: of JPEG, 1 to 100.
    """

    fps: float = 2.0
    short_side: int = 0
    quality: int = 95

    def __post_init__(self):
        if self.fps < 0 or self.short_side < 0 or not 1 <= self.quality <= 100:
            raise ValueError(f"fps and short side must be 0 or more and quality 1 to 100, got {self}")


AS_USUAL = Storage()


class Stored(NamedTuple):
    id: str
    text: str  # JSON
    frames: list[bytes]


def stored(example: Example, root: Path, storage: Storage) -> Stored | BadRecord:
    """Reads the pictures of an example; one that makes no sense or cannot be decoded is a `BadRecord`."""
    problems = validate(example)
    if problems:
        return BadRecord(example.source, example.id, "; ".join(map(str, problems)))
    try:
        media, frames = _frames(example.media, Path(root), storage, whole=bool(example.objects))
    except (VideoError, OSError) as error:
        return BadRecord(example.source, example.id, str(error))
    return Stored(example.id, json.dumps(to_dict(dataclasses.replace(example, media=media))), frames)


def restored(text: str, frames: list[bytes]) -> Example:
    """The example, with its frames in `Media.encoded`. Its masks were checked when it was stored, and are not again."""
    content = json.loads(text)
    masks = [_masks(thing.pop("masks", {})) for thing in content.get("objects", ())]
    example = from_dict(content, frames)
    objects = (dataclasses.replace(thing, masks=own) for thing, own in zip(example.objects, masks, strict=True))
    return dataclasses.replace(example, objects=tuple(objects))


def _masks(by_frame: dict[str, dict | None]) -> dict[int, Rle | None]:
    return {int(frame): rle and Rle(tuple(rle["size"]), rle["counts"]) for frame, rle in by_frame.items()}


def _frames(media: Media, root: Path, storage: Storage, whole: bool) -> tuple[Media, list[bytes]]:
    """Raises VideoError or OSError."""
    if media.encoded:
        return media, list(media.encoded)
    if media.frames or media.kind == "image":
        return media, [_picture(root / name, media.size) for name in media.frames or (media.path,)]
    video = open_media(media, root)
    numbers = thinned(video, 0 if whole else storage.fps)
    size = media.size if whole else _smaller(media.size, storage.short_side)
    fps = video.fps if len(numbers) == len(video) else storage.fps
    known = dataclasses.replace(media, size=size, length=len(numbers), fps=fps)
    return known, list(_encoded(video, numbers, size, storage.quality))


def _picture(path: Path, size: tuple[int, int]) -> bytes:
    """The bytes of a picture that can be decoded and has the size (height, width). Raises VideoError or OSError."""
    content = path.read_bytes()
    pixels = decode_image(np.frombuffer(content, np.uint8), path)
    if pixels.shape[:2] != tuple(size):
        raise VideoError(f"{path}: is {pixels.shape[1]}x{pixels.shape[0]}, not {size[1]}x{size[0]} as the example says")
    return content


def thinned(video: Video, fps: float) -> np.ndarray:
    """Numbers of the frames that are shown at 0, 1/fps, 2/fps ... seconds, int64 [N]; all when there are no more."""
    if not fps or fps >= video.fps:
        return np.arange(len(video))
    times = np.arange(0, video.timestamps[-1] + 1e-6, 1 / fps)
    return np.searchsorted(video.timestamps, times + 1e-6, side="right") - 1


def _smaller(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    if not short_side or min(size) <= short_side:
        return size
    scale = short_side / min(size)
    return round(size[0] * scale), round(size[1] * scale)


def _encoded(video: Video, numbers: np.ndarray, size: tuple[int, int], quality: int) -> Iterator[bytes]:
    """JPEG of (height, width) for each frame. Raises VideoError."""
    for frame in video.frames(numbers):
        if frame.shape[:2] != tuple(size):
            frame = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA)
        done, data = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        if not done:
            raise VideoError(f"{video.path}: a frame of {size[1]}x{size[0]} cannot be written as JPEG")
        yield data.tobytes()
