"""Frames from pictures: a folder of them, a single one, or an animated WebP or PNG."""

import dataclasses
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from vglamm_jax.data.media import Video, VideoError, over_white

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
FOLDER_FPS = 30.0
_EXIF_ORIENTATION = 0x0112
_EXIF_TURNS = {  # what makes a picture of that orientation upright
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x.swapaxes(0, 1)[::-1, ::-1],
    8: lambda x: np.rot90(x),
}
_ANIMATIONS = ("GIF", "PNG", "WEBP")  # others keep previews (a phone's JPEG) or pages (TIFF) behind the picture
_PILLOW_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


@dataclasses.dataclass(kw_only=True, eq=False)
class ImageFiles(Video):
    """One picture a frame; `fps` is assumed, since a folder does not say."""

    files: Sequence[Path]

    def _decode(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        for i in indices:
            yield read_image(self.files[i])


@dataclasses.dataclass(kw_only=True, eq=False)
class AnimatedImage(Video):
    """An animated picture, composed by Pillow, upright by EXIF; `timestamps` come from its frame durations."""

    def _decode(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        with Image.open(self.path) as image:
            turn = _EXIF_TURNS[_exif_orientation(image)]
            for i in indices:
                try:
                    image.seek(int(i))
                    frame = np.asarray(image.convert("RGBA"))
                except (OSError, EOFError, SyntaxError) as error:
                    raise VideoError(
                        f"{self.path}: frame {i} of {len(self)} cannot be decoded ({error}); copy the file again"
                    ) from error
                yield np.ascontiguousarray(turn(over_white(frame)))


def natural_key(path: Path) -> list:
    """Sorts frame2 before frame10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part.lower()) for part in re.split(r"(\d+)", path.name)]


def open_folder(folder: Path, fps: float = FOLDER_FPS) -> ImageFiles:
    """Pictures of a folder in natural order of their names; other and hidden files are passed over.

    Raises:
        VideoError: no pictures, pictures of different sizes, or one that is not a picture.
    """
    files = [p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]
    files.sort(key=natural_key)
    if not files:
        raise VideoError(f"{folder}: no pictures in this folder; expected files like 00000.jpg ({', '.join(SUFFIXES)})")
    size = _size_of(files[0])
    for file in files[1:]:
        if (other := _size_of(file)) != size:
            raise VideoError(
                f"{file}: {_as_text(other)}, but the first frame {files[0].name} is {_as_text(size)}; "
                "resize the frames to one size or move this file away"
            )
    return ImageFiles(path=folder, size=size, fps=fps, timestamps=np.arange(len(files)) / fps, files=files)


def open_image(path: Path) -> Video:
    """A single picture (kind "image"; the first if the file holds several), or every frame of an animated one.

    Raises:
        VideoError: it cannot be decoded.
    """
    durations = _durations(path)
    if len(durations) == 1:
        size = read_image(path).shape[:2]
        return ImageFiles(path=path, size=size, fps=1.0, timestamps=np.zeros(1), kind="image", files=[path])
    starts = np.concatenate([[0], np.cumsum(durations)[:-1]])
    return AnimatedImage(path=path, size=_size_of(path), fps=len(durations) / sum(durations), timestamps=starts)


def read_image(path: Path) -> np.ndarray:
    """uint8 [H, W, 3], upright by EXIF, alpha over white, 16 bits reduced to 8.

    Raises:
        VideoError: not a picture, or cut short.
    """
    return decode_image(np.fromfile(path, np.uint8), path)


def decode_image(data: np.ndarray, name: str | Path) -> np.ndarray:
    """The same from the bytes of a picture, uint8 [N]; `name` is what errors call it."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            turn = _EXIF_TURNS[_exif_orientation(image) if _may_have_exif(data) else 1]
            if image.has_transparency_data:
                return np.ascontiguousarray(turn(over_white(np.asarray(image.convert("RGBA")))))
            if not _has_end_marker(data):
                image.load()  # fails on a cut-short file, which OpenCV would fill up with grey
    except _PILLOW_ERRORS as error:
        raise _unreadable(name, error) from error
    # OpenCV's JPEG decoder is the one the original reads images with.
    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise _unreadable(name, "OpenCV cannot decode it")
    return np.ascontiguousarray(turn(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)))


def _has_end_marker(data: np.ndarray) -> bool:
    """Whether a JPEG or PNG ends as it should; False for other formats, too."""
    tail = data[-512:].tobytes()
    return b"\xff\xd9" in tail if data[:2].tobytes() == b"\xff\xd8" else b"IEND" in tail


def _may_have_exif(data: np.ndarray) -> bool:
    """False for a PNG without such a chunk, which Pillow would decode to its end to look for one."""
    content = data.tobytes()
    chunks = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
    return not content.startswith(b"\x89PNG") or any(chunk in content for chunk in chunks)


def _exif_orientation(image: Image.Image) -> int:
    orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    return orientation if orientation in _EXIF_TURNS else 1


def _size_of(path: Path) -> tuple[int, int]:
    """(height, width) from the header, upright by EXIF."""
    try:
        with Image.open(path) as image:
            return image.size if _exif_orientation(image) >= 5 else image.size[::-1]
    except _PILLOW_ERRORS as error:
        raise _unreadable(path, error) from error


def _durations(path: Path) -> list[float]:
    """Seconds each frame of a picture is shown; players show a frame without duration for 0.1 s."""
    try:
        with Image.open(path) as image:
            count = image.n_frames if image.format in _ANIMATIONS else 1
            durations = []
            for i in range(count):
                image.seek(i)
                image.load()
                durations.append((image.info.get("duration") or 100) / 1000)
            return durations
    except _PILLOW_ERRORS as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str | Path, reason) -> VideoError:
    text = str(reason).replace(str(path), "the file").replace("\n", " ")
    return VideoError(f"{path}: not a readable picture ({text}); copy the file again or remove it")


def _as_text(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]} pixels"
