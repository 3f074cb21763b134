"""One example schema for every source: a video or an image, a conversation about it, and the objects it names.

    {
      "schema": "vglamm.example/1",
      "id": "dog-0001",                        unique in its source
      "source": "own", "split": "train",
      "media": {
        "kind": "video",                       or "image"
        "path": "videos/dog.mp4",              relative to the root given when reading;
        "frames": ["dog/0.jpg", "dog/1.jpg"],  instead of path: one picture a frame
        "size": [480, 854],                    [height, width]
        "length": 60,                          number of frames (of the whole file, whatever `clip` says)
        "fps": 24.0,                           optional
        "clip": [0.0, 2.5]                     optional: only these seconds are meant
      },
      "objects": [{
        "id": "dog",                           unique in the example
        "category": "animal",                  optional
        "masks": {                             frame number -> COCO RLE; null: looked for and not visible;
          "0": {"size": [480, 854], "counts": "..."},    a frame that is not listed is not annotated
          "5": null
        },
        "boxes": {"0": [x, y, width, height]}  optional, pixels
      }],
      "turns": [{
        "question": "What is going on?",       without <image>, <video>, <p> or [SEG]
        "answer": "A dog walks.",              plain text, too
        "phrases": [{"start": 0, "end": 5, "objects": ["dog"]}],     each is one [SEG], see data/markup.py
        "task": "describe",                    describe, segment, locate or answer (the default)
        "expression": "the dog",               optional: what a "segment" or "locate" turn is about
        "time_span": [0.5, 2.0]                optional, seconds
      }],
      "independent": false,                    true: each turn is a conversation of its own, any of them may be drawn
      "meta": {}                               anything small; what the pipeline heeds of it is in data/hints.py
    }

Frame numbers count the frames of the file from 0, or are places in `frames`. "marked": "<p> A dog </p> [SEG:dog]
walks." may be written in place of answer and phrases. An answer with a time span may say "{start}" and "{end}": the
numbers of the first and last frame, among those the model sees, take their place once those are chosen.
In memory a picture may also be bytes (`Media.encoded`), for records that carry their pixels beside the JSON.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from vglamm_jax.data.fields import BOX, COUNT, FLAG, LIST, MAP, NUMBER, SIZE, SPAN, TEXT, TEXTS, Fields, Problem, short
from vglamm_jax.data.markup import Marked, MarkupError, Phrase, marked, parse_marked
from vglamm_jax.data.masks import MaskError, Rle, as_rle, union

SCHEMA = "vglamm.example/1"
TASKS = ("answer", "describe", "segment", "locate")
KINDS = ("video", "image")
Span = tuple[float, float]
Box = tuple[float, float, float, float]


class SchemaError(ValueError):
    """JSON that is no example; `problems` lists everything that is wrong."""

    def __init__(self, problems: Sequence[Problem]):
        super().__init__("; ".join(map(str, problems)))
        self.problems = list(problems)


class BadRecord(ValueError):
    """A record of a data set that cannot be used. Sources yield it in the record's place, so that the rest is read."""

    def __init__(self, source: str, id: str, reason: str):
        super().__init__(f"{source}: {id}: {reason}")
        self.source, self.id, self.reason = source, id, reason

    def __reduce__(self):
        return BadRecord, (self.source, self.id, self.reason)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Media:
    kind: str  # "video" or "image"
    size: tuple[int, int]  # (height, width)
    length: int  # frames
    path: str | None = None
    frames: tuple[str, ...] = ()
    fps: float | None = None
    clip: Span | None = None  # seconds
    encoded: tuple[bytes, ...] = dataclasses.field(default=(), repr=False)  # a JPEG or PNG a frame, not in the JSON


@dataclasses.dataclass(frozen=True, kw_only=True)
class Obj:
    id: str
    category: str | None = None
    masks: dict[int, Rle | None] = dataclasses.field(default_factory=dict)  # None: not visible; no key: not annotated
    boxes: dict[int, Box] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Turn:
    question: str
    answer: str
    phrases: tuple[Phrase, ...] = ()
    task: str = "answer"
    expression: str | None = None
    time_span: Span | None = None  # seconds


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    id: str
    media: Media
    turns: tuple[Turn, ...]
    objects: tuple[Obj, ...] = ()
    source: str = "own"
    split: str = "train"
    independent: bool = False
    meta: dict[str, Any] = dataclasses.field(default_factory=dict)

    def object(self, id: str) -> Obj:
        """Raises KeyError."""
        for thing in self.objects:
            if thing.id == id:
                return thing
        raise KeyError(id)

    def frames_of(self, phrase: Phrase) -> list[int]:
        """Frames in which every object of the phrase is annotated (visible or not), in order."""
        if not phrase.objects:
            return list(range(self.media.length))
        return sorted(set.intersection(*(set(self.object(id).masks) for id in phrase.objects)))

    def mask_of(self, phrase: Phrase, frame: int) -> Rle | None:
        """The mask of the phrase's [SEG] in one of `frames_of`: the union of its objects, None when empty."""
        return union(self.object(id).masks[frame] for id in phrase.objects)


def marked_answer(turn: Turn) -> Marked:
    """The answer as the model shall write it, and the object ids behind each of its [SEG]."""
    return marked(turn.answer, turn.phrases)


def to_dict(example: Example) -> dict[str, Any]:
    """Plain JSON values, fields at their defaults left out; `Media.encoded` is not part of them."""
    out = {"schema": SCHEMA, "id": example.id, "source": example.source, "split": example.split}
    out["media"] = _without_defaults(example.media, skip=("encoded",))
    if example.objects:
        out["objects"] = [_object_to_dict(thing) for thing in example.objects]
    out["turns"] = [_turn_to_dict(turn) for turn in example.turns]
    if example.independent:
        out["independent"] = True
    if example.meta:
        out["meta"] = example.meta
    return out


def from_dict(content: Any, encoded: Sequence[bytes] = (), trusted: bool = False) -> Example:
    """The example a JSON object describes. Whether it makes sense is `check.validate`'s question.

    With `trusted`, for what `to_dict` wrote, masks are taken as they are, which is ten times as fast.

    Raises:
        SchemaError: another schema version, unknown or missing fields, values of a wrong type, masks that are none.
    """
    schema = content.get("schema") if isinstance(content, dict) else None
    if isinstance(content, dict) and schema != SCHEMA:
        raise SchemaError([Problem("schema", f"is {short(schema)}", f'write "schema": "{SCHEMA}"')])
    problems: list[Problem] = []
    known = ("schema", *(field.name for field in dataclasses.fields(Example)))
    fields = Fields(content, "", known, problems)
    media = _media(fields.get("media", MAP), encoded, problems)
    example = Example(
        id=fields.get("id", TEXT),
        source=fields.get("source", TEXT, "own"),
        split=fields.get("split", TEXT, "train"),
        media=media,
        objects=tuple(_object(o, i, media, trusted, problems) for i, o in enumerate(fields.get("objects", LIST, ()))),
        turns=tuple(_turn(t, i, problems) for i, t in enumerate(fields.get("turns", LIST) or ())),
        independent=fields.get("independent", FLAG, False),
        meta=fields.get("meta", MAP, {}),
    )
    if problems:
        raise SchemaError(problems)
    return example


def _without_defaults(value, skip: tuple[str, ...] = ()) -> dict[str, Any]:
    out = {}
    for field in dataclasses.fields(value):
        content = getattr(value, field.name)
        if field.name not in skip and (field.default is dataclasses.MISSING or content != field.default):
            out[field.name] = list(content) if isinstance(content, tuple) else content
    return out


def _object_to_dict(thing: Obj) -> dict[str, Any]:
    out: dict[str, Any] = {"id": thing.id}
    if thing.category is not None:
        out["category"] = thing.category
    if thing.masks:
        out["masks"] = {str(frame): rle and _rle_to_dict(rle) for frame, rle in sorted(thing.masks.items())}
    if thing.boxes:
        out["boxes"] = {str(frame): list(box) for frame, box in sorted(thing.boxes.items())}
    return out


def _rle_to_dict(rle: Rle) -> dict[str, Any]:
    return {"size": list(rle.size), "counts": rle.counts}


def _turn_to_dict(turn: Turn) -> dict[str, Any]:
    out = _without_defaults(turn, skip=("phrases",))
    if turn.phrases:
        out["phrases"] = [{"start": p.start, "end": p.end, "objects": list(p.objects)} for p in turn.phrases]
    return out


def _media(content: Any, encoded: Sequence[bytes], problems: list[Problem]) -> Media | None:
    if content is None:
        return None
    fields = Fields(content, "media", ("kind", "path", "frames", "size", "length", "fps", "clip"), problems)
    return Media(
        kind=fields.get("kind", TEXT),
        path=fields.get("path", TEXT, None),
        frames=tuple(fields.get("frames", TEXTS, ())),
        size=tuple(fields.get("size", SIZE) or ()),
        length=fields.get("length", COUNT),
        fps=fields.get("fps", NUMBER, None),
        clip=_pair(fields.get("clip", SPAN, None)),
        encoded=tuple(encoded),
    )


def _object(content: Any, number: int, media: Media | None, trusted: bool, problems: list[Problem]) -> Obj:
    fields = Fields(content, f"objects[{number}]", ("id", "category", "masks", "boxes"), problems)
    masks = {}
    for frame, value in _by_frame(fields, "masks"):
        if trusted:
            masks[frame] = value and Rle(tuple(value["size"]), value["counts"])
            continue
        try:
            masks[frame] = as_rle(value, media.size if media else ())
        except MaskError as error:
            fix = "write null where the object is not visible, else a COCO RLE or polygons"
            problems.append(Problem(f"{fields.path('masks')}[{frame}]", str(error), fix))
    boxes = {}
    for frame, value in _by_frame(fields, "boxes"):
        if BOX.fits(value):
            boxes[frame] = tuple(value)
        else:
            problems.append(Problem(f"{fields.path('boxes')}[{frame}]", f"is {short(value)}", f"write {BOX.name}"))
    return Obj(id=fields.get("id", TEXT), category=fields.get("category", TEXT, None), masks=masks, boxes=boxes)


def _by_frame(fields: Fields, name: str):
    for key, value in fields.get(name, MAP, {}).items():
        if isinstance(key, str) and key.isdecimal():
            yield int(key), value
        else:
            problem = Problem(fields.path(name), f"has the key {short(key)}", "keys are frame numbers counted from 0")
            fields.problems.append(problem)


def _turn(content: Any, number: int, problems: list[Problem]) -> Turn:
    known = (*(field.name for field in dataclasses.fields(Turn)), "marked")
    fields = Fields(content, f"turns[{number}]", known, problems)
    answer, phrases = _marked_text(fields) if fields.has("marked") else _plain_answer(fields)
    return Turn(
        question=fields.get("question", TEXT),
        answer=answer,
        phrases=phrases,
        task=fields.get("task", TEXT, "answer"),
        expression=fields.get("expression", TEXT, None),
        time_span=_pair(fields.get("time_span", SPAN, None)),
    )


def _plain_answer(fields: Fields) -> tuple[str, tuple[Phrase, ...]]:
    phrases = [
        Fields(content, f"{fields.path('phrases')}[{i}]", ("start", "end", "objects"), fields.problems)
        for i, content in enumerate(fields.get("phrases", LIST, ()))
    ]
    spans = [(f.get("start", COUNT), f.get("end", COUNT), tuple(f.get("objects", TEXTS) or ())) for f in phrases]
    return fields.get("answer", TEXT), tuple(Phrase(*span) for span in spans)


def _marked_text(fields: Fields) -> tuple[str, tuple[Phrase, ...]]:
    if fields.has("answer") or fields.has("phrases"):
        problem = Problem(fields.path("marked"), "is there beside answer or phrases", "write one or the other")
        fields.problems.append(problem)
    try:
        return parse_marked(fields.get("marked", TEXT) or "")
    except MarkupError as error:
        fix = "name the objects of each [SEG] by their ids, e.g. <p> a dog </p> [SEG:dog]"
        fields.problems.append(Problem(fields.path("marked"), str(error), fix))
        return "", ()


def _pair(value: Sequence[float] | None) -> Span | None:
    return None if value is None else (float(value[0]), float(value[1]))
