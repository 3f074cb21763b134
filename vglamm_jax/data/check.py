"""Does an example make sense? Everything that does not is a `Problem` with its field and its fix."""

from collections.abc import Iterator

from vglamm_jax.data import hints
from vglamm_jax.data.fields import BOX, COUNT, MAP, SIZE, TEXT, TEXTS, Kind, Problem, short
from vglamm_jax.data.markup import MARKERS, Phrase
from vglamm_jax.data.masks import MaskError, Rle, area, check
from vglamm_jax.data.schema import KINDS, TASKS, Example, Media, Obj, Turn

RLE = Kind("an Rle or None", lambda value: isinstance(value, Rle))
TUPLES = Kind("tuples, not lists", lambda value: not any(isinstance(one, list) for one in value))


def validate(example: Example, max_objects: int | None = None, masks: bool = True) -> list[Problem]:
    """Everything wrong with an example, in the order of its fields; an empty list when it is good.

    `max_objects` is the number of [SEG] a conversation may have (the original supervises 4, facts 5.3).
    Without `masks` run lengths are not read, which takes most of the time; for examples that were validated once.
    """
    if problems := list(wrong_types(example)):
        return problems
    problems = [*_identity(example), *_media(example.media)]
    for i, thing in enumerate(example.objects):
        problems += _object(thing, f"objects[{i}]", example.media.length)
        problems += _masks(thing, f"objects[{i}].masks", example.media.size) if masks else ()
    things = {thing.id: thing for thing in example.objects}
    for i, turn in enumerate(example.turns):
        problems += _turn(turn, f"turns[{i}]", example.media)
        problems += _phrases(turn, f"turns[{i}]", things)
    problems += hints.problems(example, masks)
    if max_objects is not None:
        problems += _too_many(example, max_objects)
    return problems


def wrong_types(example: Example) -> Iterator[Problem]:
    """What JSON could not have brought in, but a program that builds examples can."""
    media, turns, objects = example.media, enumerate(example.turns), enumerate(example.objects)
    texts = {"id": example.id, "source": example.source, "split": example.split, "media.kind": media.kind}
    checks = [(name, value, TEXT) for name, value in texts.items()]
    checks += [("media.size", media.size, SIZE), ("media.length", media.length, COUNT), ("meta", example.meta, MAP)]
    checks += [("media.frames", media.frames, TEXTS), ("media", (media.size, media.frames, media.clip), TUPLES)]
    for i, thing in objects:
        checks.append((f"objects[{i}].id", thing.id, TEXT))
        checks += [(f"objects[{i}].masks", frame, COUNT) for frame in thing.masks]
        checks += [(f"objects[{i}].masks[{f}]", rle, RLE) for f, rle in thing.masks.items() if rle is not None]
        checks += [(f"objects[{i}].boxes[{f}]", box, BOX) for f, box in thing.boxes.items()]
    for i, turn in turns:
        checks += [(f"turns[{i}].{name}", getattr(turn, name), TEXT) for name in ("question", "answer", "task")]
        for j, phrase in enumerate(turn.phrases):
            checks += [(f"turns[{i}].phrases[{j}]", end, COUNT) for end in (phrase.start, phrase.end)]
            checks.append((f"turns[{i}].phrases[{j}].objects", phrase.objects, TEXTS))
    for field, value, kind in checks:
        if not kind.fits(value):
            yield Problem(field, f"is {short(value)}", f"write {kind.name}")


def _identity(example: Example) -> Iterator[Problem]:
    if not example.id:
        yield Problem("id", "is empty", "give each example of a source its own id")
    if not example.turns:
        yield Problem("turns", "is empty", "write at least one question and answer")
    seen: set[str] = set()
    for i, thing in enumerate(example.objects):
        if thing.id in seen:
            yield Problem(f"objects[{i}].id", f"{thing.id!r} is there twice", "give each object its own id")
        seen.add(thing.id)


def _media(media: Media) -> Iterator[Problem]:
    if media.kind not in KINDS:
        yield Problem("media.kind", f"is {media.kind!r}", f"write one of {', '.join(KINDS)}")
    if not (media.path or media.frames or media.encoded):
        yield Problem("media", "has no pictures", 'write "path" (a video or image) or "frames" (a list of pictures)')
    if media.path and media.frames:
        yield Problem("media", "has both path and frames", "keep one of them")
    if min(media.size) < 1:
        yield Problem("media.size", f"is {list(media.size)}", "write [height, width] in pixels")
    yield from _length(media)
    if media.fps is not None and media.fps <= 0:
        yield Problem("media.fps", f"is {media.fps}", "write frames per second, or leave it out")
    if media.clip is not None:
        yield from _span(media.clip, "media.clip", media)


def _length(media: Media) -> Iterator[Problem]:
    if media.length < 1:
        yield Problem("media.length", "is 0", "a clip has at least one frame; remove this example")
    if media.kind == "image" and media.length > 1:
        yield Problem("media.length", f"is {media.length} for an image", 'write 1, or "kind": "video"')
    for name, count in (("frames", len(media.frames)), ("encoded", len(media.encoded))):
        if count and count != media.length:
            yield Problem("media.length", f"is {media.length}, but there are {count} {name}", f"write {count}")


def _object(thing: Obj, where: str, frames: int) -> Iterator[Problem]:
    if not thing.id:
        yield Problem(f"{where}.id", "is empty", "give the object an id")
    if not thing.boxes and not any(thing.masks.values()):
        fix = "give it a mask in at least one frame, or remove it"
        yield Problem(f"{where}.masks", f"object {thing.id!r} is nowhere to be seen", fix)
    for frame in sorted({*thing.masks, *thing.boxes}):
        if not 0 <= frame < frames:
            name = "masks" if frame in thing.masks else "boxes"
            yield Problem(
                f"{where}.{name}[{frame}]", f"the media has {frames} frames", f"they count from 0 to {frames - 1}"
            )
    for frame, box in thing.boxes.items():
        if box[2] <= 0 or box[3] <= 0:
            yield Problem(f"{where}.boxes[{frame}]", f"is {list(box)}", "write [x, y, width, height], sides above 0")


def _masks(thing: Obj, where: str, size: tuple[int, int]) -> Iterator[Problem]:
    for frame, rle in thing.masks.items():
        if rle is not None:
            yield from _rle(rle, f"{where}[{frame}]", size)


def _rle(rle: Rle, where: str, size: tuple[int, int]) -> Iterator[Problem]:
    if rle.size != tuple(size):
        fix = "resize the mask or correct the size (both are [height, width])"
        yield Problem(f"{where}.size", f"is {list(rle.size)}, but the media is {list(size)}", fix)
    try:
        check(rle)
    except MaskError as error:
        yield Problem(where, str(error), "encode the mask again with pycocotools")
    else:
        if not area(rle):
            yield Problem(where, "is empty", "write null for a frame the object is not visible in")


def _turn(turn: Turn, where: str, media: Media) -> Iterator[Problem]:
    if not turn.question.strip():
        yield Problem(f"{where}.question", "is empty", "write what the user asks")
    if not turn.answer.strip() and not turn.phrases:
        yield Problem(f"{where}.answer", "is empty", "write what the model shall answer")
    for name in ("question", "answer"):
        for marker in MARKERS:
            if marker in getattr(turn, name):
                fix = 'write plain text and phrases, or the field "marked"' if name == "answer" else "remove it"
                yield Problem(f"{where}.{name}", f"contains {marker}", fix)
    if turn.task not in TASKS:
        yield Problem(f"{where}.task", f"is {short(turn.task)}", f"write one of {', '.join(TASKS)}")
    if turn.time_span is not None:
        yield from _span(turn.time_span, f"{where}.time_span", media)
    elif turn.task == "locate":
        yield Problem(f"{where}.time_span", "is missing", "a turn that locates says when: [start, end] in seconds")


def _phrases(turn: Turn, where: str, things: dict[str, Obj]) -> Iterator[Problem]:
    end, last = 0, None
    for i, phrase in enumerate(turn.phrases):
        place = f"{where}.phrases[{i}]"
        if not 0 <= phrase.start <= phrase.end <= len(turn.answer):
            what = f"span {phrase.start}..{phrase.end} of an answer with {len(turn.answer)} characters"
            yield Problem(place, what, "start and end count characters of the answer, end excluded")
        elif phrase.start < end and (phrase.start, phrase.end) != last:
            yield Problem(place, f"{_words(turn, phrase)} overlaps the phrase before", "order phrases, apart or equal")
        elif phrase.start < phrase.end and not _words(turn, phrase)[1:-1].strip():
            yield Problem(place, "has only spaces", "start and end count characters of the answer, end excluded")
        yield from _referred(phrase, _words(turn, phrase), f"{place}.objects", things)
        end, last = max(end, phrase.end), (phrase.start, phrase.end)


def _referred(phrase: Phrase, words: str, where: str, things: dict[str, Obj]) -> Iterator[Problem]:
    for id in phrase.objects:
        if id not in things:
            yield Problem(where, f"no object {id!r} ({words})", f"known ids: {', '.join(sorted(things)) or 'none'}")
    if len(set(phrase.objects)) < len(phrase.objects):
        yield Problem(where, "names an object twice", "name it once")
    frames = [set(things[id].masks) for id in phrase.objects if id in things]
    if all(frames) and frames and not set.intersection(*frames):
        fix = "annotate them together, with null where one is not visible"
        yield Problem(where, f"no frame has masks of all of {', '.join(phrase.objects)}", fix)


def _words(turn: Turn, phrase: Phrase) -> str:
    return repr(turn.answer[phrase.start : phrase.end])


def _span(span: tuple[float, float], where: str, media: Media) -> Iterator[Problem]:
    if span[0] < 0 or span[1] <= span[0]:
        yield Problem(where, f"is {list(span)}", "write [start, end] in seconds, the later one last")
    elif media.fps and 0 < media.length <= span[0] * media.fps:
        what = f"is {list(span)}, but the media ends at {media.length / media.fps:g} s"
        yield Problem(where, what, "write seconds, not frames")


def _too_many(example: Example, limit: int) -> Iterator[Problem]:
    counts = [len(turn.phrases) for turn in example.turns]
    if not example.independent:
        counts = [sum(counts)]
    for i, count in enumerate(counts):
        if count > limit:
            where = f"turns[{i}].phrases" if example.independent else "turns"
            fix = "split the conversation or raise the limit"
            yield Problem(where, f"{count} [SEG] in one conversation, at most {limit} can be learnt", fix)
