"""The answer as pictures: an mp4 and a sheet of frames, each mask in the colour of its phrase in the caption."""

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vglamm_jax.data.media import Video
from vglamm_jax.data.video_writer import write_video
from vglamm_jax.infer.answer import Answer
from vglamm_jax.infer.caption import BACKGROUND, Chip, caption_strip, palette

OPACITY = 0.4
SHADOW = (24, 24, 28)
SMALLEST_WIDTH = 480  # below this frames are enlarged or set in the middle, so that the caption can be read
LARGEST_SIDE = 4096  # what encoders and players of H.264 take, caption included
CAPTION_ROOM = 256

Progress = Callable[[str, int, int, str], None]


def overlay(answer: Answer, video: Video, path: str | Path, *, progress: Progress | None = None) -> Path:
    """Writes the tracked frames with masks and caption as mp4 (H.264), at the speed of the video.

    Frames are read, drawn and written one by one; `progress("rendering", done, total, "frame")` is called after each.
    Small ones are enlarged and none has a side of more than 4096 pixels with its caption.

    Raises:
        ValueError: the answer is about another video.
    """
    _check(answer, video)
    frames = _with_caption(answer, video, progress)
    times = video.timestamps[answer.frame_indices]
    times = times - times[0]
    return write_video(path, frames, _rate(times, video.fps), times)


def contact_sheet(
    answer: Answer,
    video: Video,
    path: str | Path | None = None,
    *,
    frames: int = 8,
    columns: int = 4,
    width: int = 1280,
) -> Image.Image:
    """A few tracked frames, spread evenly, side by side above the caption; saved as PNG when a path is given."""
    _check(answer, video)
    count = len(answer.frame_indices)
    chosen = np.linspace(0, count - 1, min(frames, count)).round().astype(int)
    columns = min(columns, len(chosen))
    gap = max(2, width // 320)
    cell = (width - gap * (columns + 1)) // columns
    height = round(cell * answer.size[0] / answer.size[1])
    rows = -(-len(chosen) // columns)
    pictures = video.frames(answer.frame_indices[chosen])
    sheet = Image.new("RGB", (width, rows * (height + gap) + gap), BACKGROUND)
    for n, (t, frame) in enumerate(zip(chosen, pictures)):
        picture = Image.fromarray(paint(_fit(frame, (height, cell)), _masks(answer, t, (height, cell))))
        _stamp(picture, answer.timestamps[t])
        sheet.paste(picture, (gap + n % columns * (cell + gap), gap + n // columns * (height + gap)))
    sheet = _stack(sheet, _caption(answer, width, max_height=max(height, 200)))
    if path is not None:
        sheet.save(path)
    return sheet


def paint(frame: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] with masks bool [K, H, W] laid over it: tinted, with a bright rim inside and a dark one outside.

    Along the border of the frame there is no rim: the object goes on there.
    """
    out = frame.copy()
    width = max(1, round(min(frame.shape[:2]) / 240))
    bright, dark = (cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1)) for r in (width + 1, width))
    shapes = [mask.astype(np.uint8) for mask in masks]
    for i, mask in enumerate(masks):
        tint = out[mask] * (1 - OPACITY) + np.float32(palette(i)) * OPACITY
        out[mask] = tint.round().astype(np.uint8)
    for shape in shapes:
        out[(cv2.dilate(shape, dark) - shape).astype(bool)] = SHADOW
    for i, shape in enumerate(shapes):
        out[(shape - cv2.erode(shape, bright)).astype(bool)] = palette(i)
    return out


def _check(answer: Answer, video: Video) -> None:
    if video.size != answer.size or answer.frame_indices[-1] >= len(video):
        raise ValueError(
            f"{video.path}: has {len(video)} frames of {video.size[1]}x{video.size[0]}, but the answer is about frame "
            f"{answer.frame_indices[-1]} of {answer.size[1]}x{answer.size[0]}; give the video that was asked about"
        )


def _with_caption(answer: Answer, video: Video, progress: Progress | None) -> Iterator[np.ndarray]:
    size = _shown_size(answer.size)
    room = min(max(size[0], 120), LARGEST_SIDE - size[0])
    caption = np.asarray(_caption(answer, max(size[1], SMALLEST_WIDTH), room))
    for t, frame in enumerate(video.frames(answer.frame_indices)):
        picture = paint(_fit(frame, size), _masks(answer, t, size))
        yield np.concatenate([_centred(picture, caption.shape[1]), caption])
        if progress:
            progress("rendering", t + 1, len(answer.frame_indices), "frame")


def _caption(answer: Answer, width: int, max_height: int) -> Image.Image:
    chips, unnamed, seen = [], [], set()
    for i, thing in enumerate(answer.objects):
        if thing.phrase and thing.span not in seen:
            chips.append(Chip(*thing.span, palette(i)))
            seen.add(thing.span)
        else:
            unnamed.append((f"object {i + 1}", palette(i)))
    return caption_strip(answer.text, chips, width, max_height, unnamed)


def _masks(answer: Answer, t: int, size: tuple[int, int]) -> np.ndarray:
    """bool [K, *size] of the t-th tracked frame; enlarged smoothly, so that outlines have no stairs."""
    masks = np.zeros((len(answer.objects), *size), bool)
    for i, thing in enumerate(answer.objects):
        mask = thing.mask(t)
        masks[i] = (
            mask if mask.shape == size else _fit(cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.8), size) > 0.5
        )
    return masks


def _shown_size(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of frames in the overlay: even, and wide enough for text, but not too large for a video."""
    height, width = size
    scale = min(max(1.0, SMALLEST_WIDTH / width), LARGEST_SIDE / width, (LARGEST_SIDE - CAPTION_ROOM) / height)
    if scale == 1:
        return height + height % 2, width + width % 2
    return max(2, round(height * scale / 2) * 2), max(2, round(width * scale / 2) * 2)


def _centred(picture: np.ndarray, width: int) -> np.ndarray:
    """[H, w, 3] -> [H, width, 3] with the background on both sides."""
    if picture.shape[1] == width:
        return picture
    out = np.full((picture.shape[0], width, 3), BACKGROUND, np.uint8)
    left = (width - picture.shape[1]) // 2
    out[:, left : left + picture.shape[1]] = picture
    return out


def _fit(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if image.shape[:2] == size:
        return image
    shrinks = size[0] < image.shape[0]
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _stamp(picture: Image.Image, seconds: float) -> None:
    """The time of a frame in its corner."""
    size = max(11, picture.width // 22)
    text, font = f"{int(seconds) // 60}:{seconds % 60:04.1f}", ImageFont.load_default(size)
    draw = ImageDraw.Draw(picture)
    box = draw.textbbox((size * 0.6, size * 0.5), text, font=font)
    draw.rounded_rectangle((box[0] - 4, box[1] - 3, box[2] + 4, box[3] + 3), 4, fill=BACKGROUND)
    draw.text((size * 0.6, size * 0.5), text, font=font, fill=(255, 255, 255))


def _stack(top: Image.Image, bottom: Image.Image) -> Image.Image:
    out = Image.new("RGB", (top.width, top.height + bottom.height), BACKGROUND)
    out.paste(top, (0, 0))
    out.paste(bottom, (0, top.height))
    return out


def _rate(times: np.ndarray, fps: float) -> float:
    return (len(times) - 1) / times[-1] if len(times) > 1 else min(fps, 30.0)
