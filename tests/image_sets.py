"""Two or three records of every image data set in its form on disk, a few pixels each."""

import json
import pickle
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco

SIZE = (8, 12)  # [height, width]
HALVES = np.zeros(SIZE, np.uint8)
HALVES[:, 6:] = 1


def area(rows: slice, columns: slice) -> np.ndarray:
    """uint8 [8, 12], 1 inside."""
    mask = np.zeros(SIZE, np.uint8)
    mask[rows, columns] = 1
    return mask


LEFT = area(slice(0, 8), slice(0, 4))
TOP = area(slice(0, 3), slice(0, 12))
DOT = area(slice(5, 7), slice(8, 11))


def rle(mask: np.ndarray) -> dict:
    encoded = coco.encode(np.asfortranarray(mask))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def rectangle(x: int, y: int, width: int, height: int) -> list[int]:
    """A polygon that covers whole pixels in COCO's rasterisation."""
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def write_picture(path: Path, size: tuple[int, int] = SIZE, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def write_labels(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path)


def write_json(path: Path, content, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding=encoding)


def ade20k(root: Path) -> None:
    """Label 1 is wall, 4 floor, 150 flag, 0 nothing; the second picture has no label map."""
    for folder, name in (("training", "a"), ("training", "b"), ("validation", "v")):
        write_picture(root / f"ade20k/images/{folder}/{name}.jpg")
    write_labels(root / "ade20k/annotations/training/a.png", HALVES * 4 + DOT * (150 - 4))
    write_labels(root / "ade20k/annotations/validation/v.png", 1 - HALVES)


def cocostuff(root: Path) -> None:
    """Value 0 is person, 17 dog, 95 building-other (left out), 255 nobody's."""
    values = np.where(HALVES == 1, 17, 95)
    values[:2] = 0
    values[-1] = 255
    write_labels(root / "cocostuff/train2017/000000000009.png", values)
    write_picture(root / "coco/train2017/000000000009.jpg")
    write_labels(root / "cocostuff/train2017/000000000025.png", np.full(SIZE, 95))
    write_picture(root / "coco/train2017/000000000025.jpg")


def mapillary(root: Path) -> None:
    labels = [{"readable": "Bird"}, {"readable": "Ground Animal"}, {"readable": "Unlabeled"}]
    write_json(root / "mapillary/config_v2.0.json", {"labels": labels})
    for name, values in (("x", HALVES + DOT), ("y", HALVES * 0 + 9)):
        path = root / f"mapillary/training/v2.0/labels/{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        palette = Image.fromarray(values.astype(np.uint8)).convert("P")
        palette.putpalette(list(range(60)))
        palette.save(path)
        write_picture(root / f"mapillary/training/images/{name}.jpg")


def paco_lvis(root: Path) -> None:
    """Two mugs and a handle; one annotation has no pixel, one is no polygon; an image without annotations."""
    write_picture(root / "coco/train2017/7.jpg")
    content = {
        "images": [
            {"id": 7, "file_name": "train2017/7.jpg", "height": 8, "width": 12},
            {"id": 8, "file_name": "train2017/8.jpg", "height": 8, "width": 12},
        ],
        "categories": [{"id": 1, "name": "mug"}, {"id": 2, "name": "mug:handle"}, {"id": 3, "name": "trash_can_(bin)"}],
        "annotations": [
            {"id": 10, "image_id": 7, "category_id": 1, "segmentation": [rectangle(0, 0, 4, 8)]},
            {"id": 11, "image_id": 7, "category_id": 2, "segmentation": rle(DOT)},
            {"id": 12, "image_id": 7, "category_id": 1, "segmentation": rle(TOP)},
            {"id": 13, "image_id": 7, "category_id": 3, "segmentation": rle(TOP * 0)},
            {"id": 14, "image_id": 7, "category_id": 3, "segmentation": [[1, 2]]},
        ],
    }
    write_json(root / "vlpart/paco/annotations/paco_lvis_v1_train.json", content)


def pascal_part(root: Path) -> None:
    write_picture(root / "vlpart/pascal_part/VOCdevkit/VOC2010/JPEGImages/2008_000008.jpg")
    content = {
        "images": [{"id": 1, "file_name": "2008_000008.jpg"}, {"id": 2, "file_name": "gone.jpg"}],
        "categories": [{"id": 1, "name": "horse:head"}, {"id": 2, "name": "person:left foot"}],
        "annotations": [
            {"id": 4, "image_id": 1, "category_id": 1, "segmentation": [rectangle(0, 0, 4, 8)]},
            {"id": 5, "image_id": 1, "category_id": 2, "segmentation": rle(DOT)},
            {"id": 6, "image_id": 2, "category_id": 1, "segmentation": rle(DOT)},
        ],
    }
    write_json(root / "vlpart/pascal_part/train.json", content)


def _ref(id: int, image: int, annotation, split: str, *sentences: str) -> dict:
    said = [
        {"sent_id": 10 * id + i, "sent": text, "raw": text, "tokens": text.split()} for i, text in enumerate(sentences)
    ]
    return {
        "ref_id": id, "image_id": image, "ann_id": annotation, "split": split, "category_id": 1, "sentences": said,
        "sent_ids": [one["sent_id"] for one in said], "file_name": f"COCO_train2014_{image:012d}_{id}.jpg",
    }  # fmt: skip


def _instances(folder: str, names: dict[int, str], annotations: dict[int, tuple]) -> dict:
    return {
        "images": [{"id": id, "file_name": name, "height": 8, "width": 12} for id, name in names.items()],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [
            {"id": id, "image_id": image, "category_id": 1, "iscrowd": 0, "segmentation": segmentation}
            for id, (image, segmentation) in annotations.items()
        ],
    }


def refcoco(root: Path, dataset: str = "refcoco", split_by: str = "unc") -> None:
    """Two references to one image, one with a missing annotation; an image of testA, one of val without its picture,
    one of testB whose picture has another size."""
    names = {1: "COCO_train2014_000000000001.jpg", 2: "COCO_train2014_000000000002.jpg", 3: "gone.jpg", 4: "other.jpg"}
    refs = [
        _ref(1, 1, 100, "train", "Man on the left.", "the man"),
        _ref(2, 1, 101, "train", "small  dot"),
        _ref(3, 1, 999, "train", "nobody"),
        _ref(4, 2, 102, "testA", "sky"),
        _ref(5, 3, 103, "val", "ghost"),
        _ref(6, 4, 104, "testB", "large"),
    ]
    annotations = {
        100: (1, [rectangle(0, 0, 2, 8), rectangle(2, 0, 2, 8)]),
        101: (1, [rectangle(8, 5, 3, 2)]),
        102: (2, rle(TOP)),
        103: (3, rle(TOP)),
        104: (4, rle(TOP)),
    }
    _write_refer(root, dataset, f"refs({split_by}).p", refs, _instances(dataset, names, annotations))
    folder = root / "refer_seg/images/mscoco/images/train2014"
    for name in list(names.values())[:2]:
        write_picture(folder / name)
    write_picture(folder / "other.jpg", (12, 8))


def _write_refer(root: Path, dataset: str, file: str, refs: list[dict], instances: dict) -> None:
    folder = root / "refer_seg" / dataset
    write_json(folder / "instances.json", instances)
    if file.endswith(".p"):
        (folder / file).write_bytes(pickle.dumps(refs, protocol=2))
    else:
        write_json(folder / file, refs)


def refclef(root: Path) -> None:
    """Masks are lists of run lengths; a split that is part of two."""
    refs = [_ref(1, 1, 5, "train", "the two things"), _ref(2, 2, 6, "testAB", "a dot")]
    annotations = {5: (1, [rle(LEFT), rle(DOT)]), 6: (2, [rle(DOT)])}
    _write_refer(root, "refclef", "refs(unc).p", refs, _instances("refclef", {1: "19.jpg", 2: "20.jpg"}, annotations))
    for name in ("19.jpg", "20.jpg"):
        write_picture(root / "refer_seg/images/saiapr_tc-12" / name)


def grefcoco(root: Path) -> None:
    """An expression of two things and one of none."""
    refs = [_ref(1, 1, [5, 6], "train", "both"), _ref(2, 1, [-1], "train", "the elephant")]
    annotations = {5: (1, rle(LEFT)), 6: (1, rle(DOT))}
    _write_refer(root, "grefcoco", "grefs(unc).json", refs, _instances("grefcoco", {1: "g.jpg"}, annotations))
    write_picture(root / "refer_seg/images/mscoco/images/train2014/g.jpg")


def llava_instruct(root: Path) -> None:
    def talk(*texts):
        return [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(texts)]

    entries = [
        {"id": "9", "image": "9.jpg", "conversations": talk("What?\n<image>", "A cat.", "Where?", "On a mat.")},
        {"id": "9", "image": "9.jpg", "conversations": talk("<image>\nDescribe it.", "A cat on a mat.")},
        {"id": "10", "image": "9.jpg", "conversations": talk("<image>\nAnd?")},
    ]
    write_json(root / "llava_dataset/llava_instruct_150k.json", entries)
    write_picture(root / "coco/train2017/9.jpg")


def reason_seg(root: Path) -> None:
    """One with sentences, an explanation, a hole to ignore and an old flag (in Windows-1252); one with a phrase."""
    folder = root / "reason_seg/ReasonSeg"
    for name in ("1", "2"):
        write_picture(folder / f"train/{name}.jpg")

    def box(label, left, top, right, bottom):
        return {"label": label, "points": [[left, top], [right, top], [right, bottom], [left, bottom]]}

    shapes = [box("ignore", 1, 1, 2, 2), box("target", 0, 0, 3.9, 7.2), box("flag", 0, 0, 11, 7)]
    text = ["What keeps\u2019s the  tea warm?", "Which thing is hot?"]
    write_json(folder / "train/1.json", {"shapes": shapes, "text": text, "is_sentence": True}, encoding="cp1252")
    phrase = {"shapes": [box("x", 8, 5, 10, 6)], "text": ["The Dot."], "is_sentence": False}
    write_json(folder / "train/2.json", phrase)
    explained = [{"image": "1.jpg", "query": text[1], "outputs": "It is a pot. "}]
    write_json(folder / "explanatory/train.json", explained)


def grandf(root: Path) -> None:
    """Overlapping spans, a span of two masks; the second entry's span is outside its caption."""
    groundings = {
        "A man": {"token_positives": [0, 5], "rle_masks": [rle(LEFT)]},
        "two dots": {"token_positives": [18, 26], "rle_masks": [rle(DOT), rle(TOP)]},
        "with two": {"token_positives": [13, 21], "rle_masks": [rle(TOP)]},
    }
    entries = [
        {"file_name": "m.jpg", "caption": '"A man stands with two dots."', "groundings": groundings},
        {
            "file_name": "m.jpg",
            "caption": "A man.",
            "groundings": {"x": {**groundings["A man"], "token_positives": [4, 9]}},
        },
    ]
    write_json(root / "grandf_dataset/GranD-f/train/GranDf_HA_GCG_train.json", entries)
    write_picture(root / "grandf_dataset/GranDf_HA_images/train/m.jpg")


def openpsg_gcg(root: Path) -> None:
    groundings = {"sky": {"token_positives": [4, 7], "rle_masks": [rle(TOP)]}}
    entry = {"file_name": "000000000001.jpg", "caption": "The sky is blue.", "groundings": groundings}
    write_json(root / "grandf_dataset/GranD-f/train/OpenPsgGCG_train.json", [entry])
    write_picture(root / "grandf_dataset/coco_2017/train2017/000000000001.jpg")


def flickr_gcg(root: Path) -> None:
    """Two boxes of one phrase; one to ignore; one outside; a short caption; a small picture."""
    sides = (32, 48)
    large = np.kron(DOT, np.ones((4, 4), np.uint8))

    def annotation(id, image, span, mask, **more):
        known = {"bbox": [0, 0, 20, 20], "area": 400, "tokens_positive": [span, [0, 1]], "sam_mask": rle(mask)}
        return {"id": id, "image_id": image, **known, **more}

    size = {"height": sides[0], "width": sides[1]}
    content = {
        "images": [
            {"id": 1, "file_name": "1.jpg", "caption": "Two dogs run on grass", **size},
            {"id": 2, "file_name": "2.jpg", "caption": "A dog", **size},
            {"id": 3, "file_name": "3.jpg", "caption": "A dog runs away", "height": 31, "width": 48},
        ],
        "annotations": [
            annotation(1, 1, [0, 8], np.kron(LEFT, np.ones((4, 4), np.uint8))),
            annotation(2, 1, [0, 8], large),
            annotation(3, 1, [16, 21], large, ignore=True),
            annotation(4, 1, [16, 21], large, bbox=[60, 0, 5, 5]),
            annotation(5, 2, [0, 5], large),
        ],
        "categories": [{"id": 1, "name": "object"}],
    }
    write_json(root / "grandf_dataset/GranD-f/train/flickr_mergedGT_GCG_train.json", content)
    write_picture(root / "grandf_dataset/flikcr_30k/train/1.jpg", sides)


def refcocog_gcg(root: Path) -> None:
    """A nested sentence, one with a capital, one that is not in the caption; an entry with none."""
    refs = [
        {"sentence": "A man with a hat", "segmentation": [rectangle(0, 0, 4, 8)]},
        {"sentence": "a hat", "segmentation": [rectangle(8, 5, 3, 2)]},
        {"sentence": "a tree", "segmentation": [rectangle(8, 5, 3, 2)]},
    ]
    name = "COCO_train2014_000000000003.jpg"
    entries = [
        {"77": {"img_file_name": name, "caption": '"A man with a hat waits."', "refs": refs}},
        {"78": {"img_file_name": name, "caption": "Nothing here.", "refs": refs}},
    ]
    write_json(root / "grandf_dataset/GranD-f/train/RefCOCOg_GCG_train.json", entries)
    write_picture(root / "grandf_dataset/coco_2014/train2014" / name)


WRITERS = {
    "ade20k": ade20k,
    "cocostuff": cocostuff,
    "mapillary": mapillary,
    "pascal_part": pascal_part,
    "paco_lvis": paco_lvis,
    "refclef": refclef,
    "refcoco": refcoco,
    "refcoco+": lambda root: refcoco(root, "refcoco+"),
    "refcocog": lambda root: refcoco(root, "refcocog", "umd"),
    "grefcoco": grefcoco,
    "llava_instruct": llava_instruct,
    "reason_seg": reason_seg,
    "grandf": grandf,
    "openpsg_gcg": openpsg_gcg,
    "flickr_gcg": flickr_gcg,
    "refcocog_gcg": refcocog_gcg,
}
