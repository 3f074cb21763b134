"""The answer to a question about a video: words, and a mask in every tracked frame for each object they name.

`answer.json`, schema "vglamm.answer/1":

    {
      "schema": "vglamm.answer/1",
      "prompt": "...",                        the question
      "text": "A dog walks.",                 for people
      "raw_text": "<p>A dog</p> [SEG] ...",   as the model wrote it
      "token_ids": [319, ...],                generated ids
      "video": {"path": "clip.mp4", "size": [height, width]},
      "frames": {"index": [0, 30], "time": [0.0, 1.0]},        frame numbers in the file, seconds
      "objects": [{
        "phrase": "A dog", "span": [0, 5],    characters of "text"; an empty phrase has start = stop
        "masks": [{"size": [height, width], "counts": "..."}], COCO RLE, one a frame
        "boxes": [[x0, y0, x1, y1], null],    pixels, x1 and y1 excluded; null where the mask is empty
        "predicted_iou": [0.91, ...],         the model's own estimate of its mask's quality
        "presence": [8.2, -3.1],              logit of the object being in the frame
        "present": [true, false]              presence > 0
      }]
    }
"""

import dataclasses
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from pycocotools import mask as coco

from vglamm_jax.data.preprocess import masks_from_logits
from vglamm_jax.infer.phrases import read

SCHEMA = "vglamm.answer/1"
FILE, MASKS = "answer.json", "masks"
OVERLAY, SHEET = "overlay.mp4", "answer.png"  # beside answer.json


class AnswerError(ValueError):
    """An answer that cannot be read or written; the message names the file and the fix."""


def output_folder(path: str | Path) -> Path:
    """Makes the folder of an answer, or takes one with an earlier answer in it, which is going to be replaced.

    Raises:
        AnswerError: a file is in its place, or it holds what no answer wrote.
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise AnswerError(f"{folder}: is a file; give the output a folder, which is made where there is none")
    theirs = [name for name in (OVERLAY, SHEET, MASKS) if (folder / name).exists()]
    if theirs and not (folder / FILE).is_file():
        raise AnswerError(f"{folder / theirs[0]}: would be replaced, but is of no earlier answer; give another folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class FrameMasks(Protocol):
    """What the mask decoder says about one frame, as `infer.track` yields it."""

    logits: np.ndarray  # float32 [objects, h, w]
    iou: np.ndarray  # float32 [objects]
    object_score: np.ndarray  # float32 [objects]


class Masks(Sequence):
    """bool [T, H, W], decoded when asked for: `masks[3]` is [H, W], `masks[2:5]` [3, H, W], `np.asarray(masks)` all."""

    def __init__(self, rles: Sequence[dict], size: tuple[int, int]):
        self._rles = rles
        self.shape = (len(rles), *size)
        self.dtype = np.dtype(bool)

    def __len__(self) -> int:
        return len(self._rles)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return self._stack(self._rles[index])
        return coco.decode(self._rles[index]).astype(bool)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self._stack(self._rles).astype(dtype or bool, copy=False)

    def _stack(self, rles: Sequence[dict]) -> np.ndarray:
        out = np.empty((len(rles), *self.shape[1:]), bool)
        for i, rle in enumerate(rles):
            out[i] = coco.decode(rle)
        return out


@dataclasses.dataclass(eq=False)
class GroundedObject:
    """One [SEG] of the answer."""

    phrase: str
    span: tuple[int, int]  # characters of Answer.text
    rles: list[dict]  # COCO RLE a frame, counts as bytes
    boxes: np.ndarray  # float32 [T, 4], x0 y0 x1 y1, NaN where the mask is empty
    predicted_iou: np.ndarray  # float32 [T]
    presence: np.ndarray  # float32 [T], logit
    size: tuple[int, int]
    logits: np.ndarray | None = None  # float32 [T, h, w] before resizing, kept on request

    @property
    def present(self) -> np.ndarray:
        """bool [T]: whether the model thinks that the object is in the frame."""
        return self.presence > 0

    @property
    def masks(self) -> Masks:
        return Masks(self.rles, self.size)

    def mask(self, frame: int) -> np.ndarray:
        """bool [H, W] in the frame-th tracked frame."""
        return self.masks[frame]


@dataclasses.dataclass(eq=False)
class Answer:
    """Words and objects; an answer that names no object has none, and is as valid."""

    text: str
    raw_text: str
    token_ids: list[int]
    objects: list[GroundedObject]
    frame_indices: np.ndarray  # int64 [T], numbers of the tracked frames in the file
    timestamps: np.ndarray  # float64 [T], seconds
    size: tuple[int, int]  # (height, width) of masks and video
    video: str = ""
    prompt: str = ""

    def to_json(self) -> dict[str, Any]:
        """The answer as plain values, schema in the module's docstring (low-resolution logits are not part of it)."""
        return {
            "schema": SCHEMA,
            "prompt": self.prompt,
            "text": self.text,
            "raw_text": self.raw_text,
            "token_ids": [int(i) for i in self.token_ids],
            "video": {"path": self.video, "size": list(self.size)},
            "frames": {"index": self.frame_indices.tolist(), "time": [round(t, 6) for t in self.timestamps.tolist()]},
            "objects": [_object_to_json(thing) for thing in self.objects],
        }

    @classmethod
    def from_json(cls, content: dict[str, Any], name: str = "answer") -> "Answer":
        """Raises AnswerError when the schema is another one or a field is missing; `name` is what the error names."""
        schema = content.get("schema") if isinstance(content, dict) else None
        if schema != SCHEMA:
            raise AnswerError(
                f"{name}: schema is {schema!r}, expected {SCHEMA!r}; write the answer again with vglamm ask"
            )
        try:
            size = tuple(content["video"]["size"])
            return cls(
                text=content["text"],
                raw_text=content["raw_text"],
                token_ids=content["token_ids"],
                objects=[_object_from_json(thing, size) for thing in content["objects"]],
                frame_indices=np.array(content["frames"]["index"], np.int64),
                timestamps=np.array(content["frames"]["time"], np.float64),
                size=size,
                video=content["video"]["path"],
                prompt=content["prompt"],
            )
        except (KeyError, TypeError) as error:
            raise AnswerError(f"{name}: the field {error} is missing or wrong; write the answer again") from error

    def save(self, folder: str | Path, masks_png: bool = False) -> Path:
        """Writes answer.json, and with `masks_png` masks/<object>/<frame number>.png (0 and 255); returns answer.json.

        Each appears only when it is complete, and replaces what an earlier answer left there, its pictures too.

        Raises:
            AnswerError: something of these names is there and no answer with it: it is not ours to remove.
        """
        folder = output_folder(folder)
        for picture in (folder / OVERLAY, folder / SHEET):
            if picture.resolve() != Path(self.video).resolve():  # an overlay can be asked about, too
                picture.unlink(missing_ok=True)
        if (folder / MASKS).exists():
            shutil.rmtree(folder / MASKS)
        path, partial = folder / FILE, folder / f".{FILE}.partial"
        partial.write_text(json.dumps(self.to_json(), ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(path)
        if masks_png:
            self._save_masks(folder / MASKS)
        return path

    @classmethod
    def load(cls, path: str | Path) -> "Answer":
        """From answer.json or the folder that holds it; raises AnswerError."""
        path = Path(path)
        path = path / FILE if path.is_dir() else path
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise AnswerError(f"{path}: {error.strerror}; give the folder vglamm ask wrote") from error
        except ValueError as error:
            raise AnswerError(f"{path}: not valid JSON ({error}); write the answer again") from error
        return cls.from_json(content, str(path))

    def _save_masks(self, folder: Path) -> None:
        partial = folder.with_name(".masks.partial")
        if partial.exists():
            shutil.rmtree(partial)
        for number, thing in enumerate(self.objects):
            place = partial / str(number)
            place.mkdir(parents=True)
            for frame, mask in zip(self.frame_indices, thing.masks):
                png = cv2.imencode(".png", mask.astype(np.uint8) * 255)[1]
                (place / f"{frame:05d}.png").write_bytes(png.tobytes())
        if self.objects:
            partial.rename(folder)


def make_answer(
    raw_text: str,
    token_ids: Sequence[int],
    frames: Iterable[FrameMasks],
    *,
    size: tuple[int, int],
    frame_indices: np.ndarray,
    timestamps: np.ndarray,
    video: str = "",
    prompt: str = "",
    keep_logits: bool = False,
) -> Answer:
    """Reads the words, and turns mask logits into RLEs as the frames come, so that memory holds one frame.

    `frames` yields one item for each of `frame_indices`, with as many objects as the text has [SEG]; without any [SEG]
    it is not touched.

    Raises:
        ValueError: numbers of [SEG], objects or frames that do not fit together.
    """
    reading = read(raw_text)
    names = [(reading.text[start:stop], (start, stop)) for start, stop in reading.spans]
    collected = [_Collected([], [], [], []) for _ in names]
    for frame in frames if names else ():
        if len(frame.logits) != len(names):
            raise ValueError(f"the text has {len(names)} [SEG], but {len(frame.logits)} objects were tracked")
        _collect(collected, frame, size, keep_logits)
    if any(len(c.rles) != len(frame_indices) for c in collected):
        raise ValueError(f"{len(frame_indices)} frames were chosen, but {len(collected[0].rles)} were tracked")
    return Answer(
        text=reading.text,
        raw_text=raw_text,
        token_ids=[int(i) for i in token_ids],
        objects=[_grounded(name, span, c, size, keep_logits) for (name, span), c in zip(names, collected)],
        frame_indices=np.asarray(frame_indices, np.int64),
        timestamps=np.asarray(timestamps, np.float64),
        size=(int(size[0]), int(size[1])),
        video=str(video),
        prompt=prompt,
    )


@dataclasses.dataclass
class _Collected:
    rles: list[dict]
    iou: list[float]
    presence: list[float]
    logits: list[np.ndarray]


def _collect(collected: list[_Collected], frame: FrameMasks, size: tuple[int, int], keep_logits: bool) -> None:
    for i, thing in enumerate(collected):
        mask = masks_from_logits(frame.logits[i], size)
        thing.rles.append(coco.encode(np.asfortranarray(mask, np.uint8)))
        thing.iou.append(float(frame.iou[i]))
        thing.presence.append(float(frame.object_score[i]))
        if keep_logits:
            thing.logits.append(np.array(frame.logits[i], np.float32))


def _grounded(phrase, span, collected: _Collected, size, keep_logits: bool) -> GroundedObject:
    return GroundedObject(
        phrase=phrase,
        span=span,
        rles=collected.rles,
        boxes=boxes_of(collected.rles),
        predicted_iou=np.array(collected.iou, np.float32),
        presence=np.array(collected.presence, np.float32),
        size=(int(size[0]), int(size[1])),
        logits=np.stack(collected.logits) if keep_logits and collected.logits else None,
    )


def boxes_of(rles: Sequence[dict]) -> np.ndarray:
    """COCO RLEs of T frames -> float32 [T, 4], x0 y0 x1 y1 with x1 and y1 excluded, NaN for an empty mask."""
    if not rles:
        return np.zeros((0, 4), np.float32)
    boxes = coco.toBbox(list(rles)).reshape(-1, 4).astype(np.float32)
    boxes[:, 2:] += boxes[:, :2]
    boxes[coco.area(list(rles)) == 0] = np.nan
    return boxes


def _object_to_json(thing: GroundedObject) -> dict[str, Any]:
    return {
        "phrase": thing.phrase,
        "span": list(thing.span),
        "masks": [{"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")} for rle in thing.rles],
        "boxes": [None if np.isnan(box[0]) else box.tolist() for box in thing.boxes],
        "predicted_iou": [round(v, 6) for v in thing.predicted_iou.tolist()],
        "presence": [round(v, 6) for v in thing.presence.tolist()],
        "present": thing.present.tolist(),
    }


def _object_from_json(content: dict[str, Any], size: tuple[int, int]) -> GroundedObject:
    rles = [{"size": rle["size"], "counts": rle["counts"].encode("ascii")} for rle in content["masks"]]
    boxes = np.array([box or [np.nan] * 4 for box in content["boxes"]], np.float32).reshape(-1, 4)
    return GroundedObject(
        phrase=content["phrase"],
        span=tuple(content["span"]),
        rles=rles,
        boxes=boxes,
        predicted_iou=np.array(content["predicted_iou"], np.float32),
        presence=np.array(content["presence"], np.float32),
        size=size,
    )
