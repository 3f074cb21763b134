"""What PACO and PASCAL-Part share: COCO annotations of objects and of their parts, classes named "dog:tail"."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from vglamm_jax.data.masks import MaskError, as_rle
from vglamm_jax.data.schema import BadRecord, Example, Media, Obj
from vglamm_jax.data.sources.own import segment_turn
from vglamm_jax.data.sources.pictures import guarded, share
from vglamm_jax.data.sources.registry import Part


def class_name(name: str) -> tuple[str, str | None]:
    """ "dog:tail" -> ("dog", "tail"), "mug_(cup)" -> ("mug", None); underscores are spaces."""
    thing, _, part = (piece.split("_(")[0].strip().replace("_", " ") for piece in name.partition(":"))
    return thing, part or None


def expression(thing: str, part: str | None, first_wording: bool) -> str:
    """The two wordings the original uses equally often."""
    if part is None:
        return thing
    return f"{thing} {part}" if first_wording else f"the {part} of the {thing}"


def records(
    source: str,
    split: str,
    content: dict[str, Any],
    media_of: Callable[[dict], Media],
    part: Part,
    instances: bool,
) -> Iterator[Example | BadRecord]:
    """An example for each picture with annotations, in the file's order; `media_of` gets its entry.

    instances: a turn for each annotation, as the original has it, instead of one for all of a class.
    """
    classes = {entry["id"]: class_name(entry["name"]) for entry in content["categories"]}
    by_image: dict[int, list[dict]] = defaultdict(list)
    for annotation in content["annotations"]:
        by_image[annotation["image_id"]].append(annotation)
    for entry in share((image for image in content["images"] if by_image[image["id"]]), part):
        found = _example(source, split, entry, by_image[entry["id"]], classes, media_of, instances)
        yield from guarded(source, str(entry["id"]), found)


def _example(source, split, entry, annotations, classes, media_of, instances) -> Iterator[Example | BadRecord]:
    media, id = media_of(entry), str(entry["id"])
    objects: list[Obj] = []
    groups: dict[tuple, list[str]] = {}
    for annotation in sorted(annotations, key=lambda one: (one["category_id"], one["id"])):
        try:
            rle, name = as_rle(annotation["segmentation"], media.size), classes[annotation["category_id"]]
        except MaskError as error:
            yield BadRecord(source, f"{id}/{annotation['id']}", str(error))
            continue
        if rle is None:
            yield BadRecord(source, f"{id}/{annotation['id']}", "the mask has no pixel")
            continue
        objects.append(Obj(id=str(annotation["id"]), category=expression(*name, True), masks={0: rle}))
        groups.setdefault((name, annotation["id"] if instances else None), []).append(objects[-1].id)
    # Which wording a turn has must not depend on who reads it: half of all ids are even.
    turns = [segment_turn(expression(*name, int(ids[0]) % 2 == 0), ids, "image") for (name, _), ids in groups.items()]
    if turns:
        yield Example(
            id=id, source=source, split=split, media=media, objects=tuple(objects), turns=tuple(turns), independent=True
        )
