"""Frames of a video file through PyAV: indexed by time without decoding, then decoded from the nearest key frame."""

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import av.error
import numpy as np
from av.sidedata.sidedata import Type as SideData

from vglamm_jax.data.media import Video, VideoError, over_white

TEXT_ART = ("tty", "bin", "xbin", "adf", "idf")  # FFmpeg's names for letters it would draw on a screen
STILL_BRANDS = ("avif", "heic", "heix", "mif1")
SEEK_AHEAD = 8  # frames worth decoding rather than seeking, which throws away what the decoder has in flight


class Index(NamedTuple):
    """What demuxing tells, without decoding."""

    ticks: np.ndarray | None  # presentation times, sorted; None where the container has no time stamps
    keys: np.ndarray  # those of key frames
    count: int
    missing: int  # frames the header promises on top of these
    leading: int  # packets before the first key frame: no decoder shows them


@dataclasses.dataclass(kw_only=True, eq=False)
class VideoFile(Video):
    index: Index
    orientation: tuple[bool, bool, bool]
    allow_truncated: bool

    def _decode(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        targets = indices if self.index.ticks is None else self.index.ticks[indices]
        with _open(self.path) as container:
            yield from self._at(container, targets)

    def _at(self, container, targets: np.ndarray) -> Iterator[np.ndarray]:
        stream = container.streams.best("video")
        decoded = _Decoder(self, container, stream)
        for target in targets:
            key = self._key_before(target)
            if self._frames_between(decoded.time, key) > SEEK_AHEAD:
                decoded.seek(key)
            frame = decoded.advance(target)
            yield orient(rgb(frame, self.stored_size), self.orientation)

    def _key_before(self, target: int) -> int:
        position = np.searchsorted(self.index.keys, target, side="right") - 1
        return int(self.index.keys[position]) if position > 0 else -1

    def _frames_between(self, time: int, key: int) -> int:
        return 0 if key < 0 else int(np.diff(np.searchsorted(self.index.ticks, (time, key)))[0])

    @property
    def stored_size(self) -> tuple[int, int]:
        """(height, width) as stored, before the rotation flag."""
        return self.size[::-1] if self.orientation[0] else self.size


class _Decoder:
    """Walks through a container and holds the last frame shown at or before a time."""

    def __init__(self, video: VideoFile, container, stream):
        self.video, self.container, self.stream = video, container, stream
        stream.thread_type = "AUTO"
        self.counts = video.index.ticks is None
        self.restart()

    def restart(self) -> None:
        self.held, self.time, self.decoded = None, -(1 << 62), 0
        self.waiting = None
        self.source = self._frames()

    def seek(self, key: int) -> None:
        """To the key frame at tick `key`; -1 stays where it is, since that is the start."""
        if key < 0:
            return
        self.container.seek(key, stream=self.stream, backward=True, any_frame=False)
        self.restart()
        self.waiting = next(self.source, None)
        if self.waiting is None or self.waiting[0] > key:
            self._rewind()

    def advance(self, target: int):
        """The frame shown at tick `target`."""
        while self.time < target:
            self.waiting = self.waiting or next(self.source, None)
            if self.waiting is None or self.waiting[0] > target:
                break
            (self.time, self.held), self.waiting = self.waiting, None
        if self.held is None or (self.waiting is None and self.time < target):
            self._ended()
        return self.held

    def _rewind(self) -> None:
        # Some containers seek past what was asked for: read from the start instead.
        self.container.seek(int(self.video.index.ticks[0]), stream=self.stream, backward=True)
        self.restart()

    def _ended(self) -> None:
        if not (self.video.allow_truncated and self.held is not None):
            raise _cut_short(self.video.path, self.decoded, len(self.video))

    def _frames(self) -> Iterator[tuple[int, av.VideoFrame]]:
        try:
            for frame in _decoded(self.container, self.stream, self.video.index):
                time = self.decoded if self.counts else frame.pts
                self.decoded += 1
                if time is not None:
                    yield time, frame
        except av.error.FFmpegError as error:
            if not self.video.allow_truncated:
                raise VideoError(
                    f"{self.video.path}: damaged after frame {self.decoded} ({_reason(error)}); re-encode it, or allow "
                    "truncated files to use what can be read"
                ) from error


def open_video_file(path: Path, allow_truncated: bool = False) -> VideoFile:
    """Indexes a file and decodes its first frame, which tells size and rotation; a GIF or AVIF of one is an image.

    A recording that starts between key frames starts at the first frame that can be decoded.

    Raises:
        VideoError: no video, text, no frame, damaged or cut short (the last only without `allow_truncated`).
    """
    with _open(path) as container:
        stream = _video_stream(path, container)
        index = _scan(path, container, stream)
        time_base, header_rate = float(stream.time_base or 0), float(stream.average_rate or stream.guessed_rate or 0)
        if index.missing > 0 and not allow_truncated:
            raise _cut_short(path, index.count, index.count + index.missing)
        first = _rewound(container, stream, index) or _first_frame(path, index)
        still = index.count == 1 and _holds_pictures(container)
    index = _starting_with(index, first)
    rate = _rate(index, time_base, header_rate)
    times = np.arange(index.count) / rate if index.ticks is None else (index.ticks - index.ticks[0]) * time_base
    orientation = orientation_of(first)
    size = (first.width, first.height) if orientation[0] else (first.height, first.width)
    return VideoFile(
        path=path,
        size=size,
        fps=rate,
        timestamps=times,
        index=index,
        kind="image" if still else "video",
        orientation=orientation,
        allow_truncated=allow_truncated,
    )


def orientation_of(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """(transpose, flip rows, flip columns) of a frame's display matrix, to the nearest right angle."""
    side = frame.side_data.get(SideData.DISPLAYMATRIX)
    if side is None:
        return False, False, False
    a, b, _, c, d = (int(v) for v in np.frombuffer(bytes(side), np.int32)[:5])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return False, d < 0, a < 0
    return True, b < 0, c < 0


def orient(image: np.ndarray, orientation: tuple[bool, bool, bool]) -> np.ndarray:
    """uint8 [h, w, 3] as stored -> [H, W, 3] as shown."""
    transpose, flip_rows, flip_columns = orientation
    image = image.swapaxes(0, 1) if transpose else image
    image = image[::-1] if flip_rows else image
    image = image[:, ::-1] if flip_columns else image
    return np.ascontiguousarray(image)


def rgb(frame: av.VideoFrame, size: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W, 3]; deep colour is reduced to 8 bits (HDR without tone mapping), alpha shown over white."""
    alpha = any(component.is_alpha for component in frame.format.components)
    pixels = frame.to_ndarray(format="rgba" if alpha else "rgb24", height=size[0], width=size[1])
    return over_white(pixels) if alpha else pixels


def _open(path: Path):
    try:
        return av.open(str(path))
    except av.error.FFmpegError as error:
        raise VideoError(
            f"{path}: not a readable video ({_reason(error)}); it may be cut short or another kind of file, "
            "try to play it and re-encode it as mp4"
        ) from error


def _video_stream(path: Path, container):
    if container.format.name in TEXT_ART:
        raise VideoError(f"{path}: not a readable video but text; give a video, a picture or a folder of pictures")
    stream = container.streams.best("video")
    if stream is None:
        raise VideoError(f"{path}: has no video stream; give a file with pictures")
    return stream


def _holds_pictures(container) -> bool:
    """Whether its format is one of pictures, which a film of a single frame is not."""
    name = container.format.name
    return name in ("gif", "image2") or name.endswith("_pipe") or container.metadata.get("major_brand") in STILL_BRANDS


def _scan(path: Path, container, stream) -> Index:
    ticks, keys, stored, end, leading = [], [], 0, 0.0, None
    seekable = container.format.name != "mpeg"  # FFmpeg's seeking there mistakes a frame's time for its neighbour's
    try:
        for packet in container.demux():
            if packet.is_corrupt or (not packet.size and packet.dts is None):
                continue
            if packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream_index != stream.index:
                continue
            stored += 1
            if packet.is_keyframe and leading is None:
                leading = stored - 1
                ticks.clear()
            if packet.size and not packet.is_discard:
                ticks.append(packet.pts)
                keys += [packet.pts] * (packet.is_keyframe and seekable)
    except av.error.FFmpegError as error:
        if not ticks:
            raise VideoError(f"{path}: cannot be read ({_reason(error)}); copy or download it again") from error
    if not ticks:
        raise VideoError(f"{path}: has no frames; give a video with at least one")
    missing = max(stream.frames - stored, _missing_by_duration(container, stream, end))
    if None in ticks:
        return Index(None, np.array([], np.int64), len(ticks), missing, leading or 0)
    unique = np.unique(np.array(ticks, np.int64))
    return Index(unique, np.unique(np.array(keys, np.int64)), len(unique), missing, leading or 0)


def _starting_with(index: Index, first: av.VideoFrame) -> Index:
    """The index without what no decoder shows, as frames that lead a key frame but lean on the one before it."""
    if index.ticks is None or first.pts is None:
        return index
    start = min(first.pts, index.ticks[-1])
    ticks, keys = (times[times >= start] for times in (index.ticks, index.keys))
    return index._replace(ticks=ticks, keys=keys, count=len(ticks))


def _missing_by_duration(container, stream, end: float) -> int:
    """Frames a Matroska or WebM header promises by its duration: it states no count. Three may be rounding."""
    if "matroska" not in container.format.name or not container.duration:
        return 0
    missing = round((container.duration / av.time_base - end) * float(stream.average_rate or 0))
    return missing if missing > 3 else 0


def _decoded(container, stream, index: Index) -> Iterator[av.VideoFrame]:
    """Frames from where the container stands; where key frames were cut off, from the next one."""
    packets = container.demux(stream)
    if index.leading:
        packets = itertools.dropwhile(lambda packet: not packet.is_keyframe, packets)
    for packet in packets:
        yield from packet.decode()


def _rewound(container, stream, index: Index) -> av.VideoFrame | None:
    """The first frame of a container that was read to its end, if it can go back: opening it anew takes long."""
    try:
        container.seek(0)
        frame = next(_decoded(container, stream, index), None)
    except av.error.FFmpegError:
        return None
    late = frame and frame.pts is not None and index.ticks is not None and frame.pts > index.ticks[0]
    return None if late else frame


def _first_frame(path: Path, index: Index) -> av.VideoFrame:
    with _open(path) as container:
        try:
            frame = next(_decoded(container, container.streams.best("video"), index), None)
        except av.error.FFmpegError as error:
            raise VideoError(f"{path}: its first frame cannot be decoded ({_reason(error)}); re-encode it") from error
    if frame is None:
        raise VideoError(f"{path}: no frame can be decoded; the file is damaged, re-encode it or copy it again")
    return frame


def _rate(index: Index, time_base: float, header: float) -> float:
    """The header's average rate unless the time stamps contradict it, as they do when the rate varies."""
    if index.ticks is None or len(index.ticks) < 2:
        return header or 1.0
    measured = (len(index.ticks) - 1) / ((index.ticks[-1] - index.ticks[0]) * time_base)
    return header if header and abs(header / measured - 1) < 0.1 else measured


def _cut_short(path: Path, readable: int, promised: int) -> VideoError:
    return VideoError(
        f"{path}: cut short, {readable} of {promised} frames can be read; copy or download it again, or allow "
        "truncated files to use what is there"
    )


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
