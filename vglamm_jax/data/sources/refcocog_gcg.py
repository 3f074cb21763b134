"""GranD-f's captions of RefCOCOg pictures, put together from referring sentences (facts 6.5).

Captions are lower-cased as in the original. A sentence is looked for without regard to case: the original accepts one
with capitals and then wraps nothing of the caption. Where spans overlap, the one that starts later keeps its words.
"""

from collections.abc import Iterator
from pathlib import Path

from vglamm_jax.data.masks import as_rle
from vglamm_jax.data.schema import BadRecord, Example, Obj
from vglamm_jax.data.sources.captions import FOLDER, Spans, example, tidy_caption
from vglamm_jax.data.sources.own import DataError
from vglamm_jax.data.sources.pictures import guarded, known_split, picture, read_json, share
from vglamm_jax.data.sources.registry import WHOLE, Part

SOURCE = "refcocog_gcg"
IMAGES = "grandf_dataset/coco_2014/train2014"
LAYOUT = f"{FOLDER}/{{split}}/RefCOCOg_GCG_{{split}}.json and {IMAGES}/*.jpg"
SPLITS = ("train", "val")


def examples(root: Path, split: str = "train", *, part: Part = WHOLE) -> Iterator[Example | BadRecord]:
    """An example a captioned picture, in the file's order.

    Raises:
        FileNotFoundError, ValueError: see `registry.examples`.
    """
    known_split(split, SPLITS, SOURCE)
    content = read_json(root / FOLDER / split / f"RefCOCOg_GCG_{split}.json", LAYOUT)
    # Either one object of all entries, or a list of objects with an entry each.
    pieces = content if isinstance(content, list) else [content]
    entries = (entry for piece in pieces for entry in piece.items())
    for place, (key, entry) in share(enumerate(entries), part):
        id = f"{key}-{place:06d}"
        yield from guarded(SOURCE, id, _example(root, split, id, entry))


def _example(root: Path, split: str, id: str, entry: dict) -> Iterator[Example]:
    media = picture(root, f"{IMAGES}/{entry['img_file_name']}")
    caption = tidy_caption(entry["caption"]).lower()
    objects: list[Obj] = []
    spans: Spans = {}
    for i, ref in enumerate(entry["refs"]):
        words = ref["sentence"].lower().strip()
        start = caption.find(words)
        if start < 0 or not words:
            continue
        mask = as_rle(ref["segmentation"], media.size)
        if mask is None:
            raise DataError(f"the mask of {words!r} has no pixel")
        objects.append(Obj(id=str(i), category=words, masks={0: mask}))
        spans.setdefault((start, start + len(words)), []).append(str(i))
    yield example(SOURCE, split, id, media, caption, spans, objects)
