"""Small data sets on disk, written as people would, for the tests of sources and of `vglamm data`."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from vglamm_jax.data.video_writer import write_video

SIZE = (24, 32)


def picture(path: Path, shade: int = 90, size=SIZE) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), shade, np.uint8)).save(path)
    return path.name


def palette_png(path: Path, labels: np.ndarray, mode: str = "P") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels.astype(np.uint8))
    if mode == "P":
        image.putpalette(list(range(30)))
    image.save(path)


def block(rows: tuple[int, int], columns: tuple[int, int], value: int = 1, size=SIZE) -> np.ndarray:
    labels = np.zeros(size, np.uint8)
    labels[slice(*rows), slice(*columns)] = value
    return labels


def video(path: Path, frames: int = 4, fps: float = 8.0) -> None:
    write_video(path, (np.full((*SIZE, 3), 40 * n, np.uint8) for n in range(frames)), fps)


def write_json(path: Path, content) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def write_lines(path: Path, lines: list) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def ball_line(**changes) -> dict:
    """A good line of JSONL about videos/ball.mp4, as short as it may be."""
    return {
        "id": "ball",
        "media": {"path": "videos/ball.mp4"},
        "objects": [{"id": "b", "masks": {"0": [[4, 4, 12, 4, 12, 10, 4, 10]], "3": None}}],
        "turns": [{"question": "What moves?", "marked": "<p> A ball </p> [SEG:b] rolls away.", "task": "describe"}],
        **changes,
    }


def jsonl_folder(root: Path) -> Path:
    """Two lines of train.jsonl (a video, a list of pictures) and one of test.jsonl (an image)."""
    video(root / "videos" / "ball.mp4")
    for n in range(2):
        picture(root / "cat" / f"{n}.png", 90 + n)
    palette_png(root / "masks" / "cat.png", block((2, 6), (3, 9), 7))
    picture(root / "still.png")
    pictures = {
        "id": "cat",
        "media": {"frames": ["cat/0.png", "cat/1.png"]},
        "objects": [{"id": "c", "masks": {"1": {"png": "masks/cat.png", "value": 7}}}],
        "turns": [{"question": "Where is the cat?", "marked": "[SEG:c]", "task": "segment"}],
    }
    image = {"id": "still", "media": {"path": "still.png"}, "turns": [{"question": "What?", "answer": "Grey."}]}
    write_lines(root / "train.jsonl", [ball_line(), "", pictures])
    write_lines(root / "test.jsonl", [image])
    return root


def coco_folder(root: Path) -> Path:
    """Three images, the first with an expression and a caption, the second with categories alone, one without all."""
    for n in (1, 2, 3):
        picture(root / "images" / f"{n}.jpg")
    annotations = [
        {"id": 10, "image_id": 1, "category_id": 5, "segmentation": [[2, 2, 10, 2, 10, 8, 2, 8]], "iscrowd": 0},
        {"id": 11, "image_id": 1, "category_id": 5, "segmentation": [[20, 10, 30, 10, 30, 20, 20, 20]], "iscrowd": 0},
        {"id": 20, "image_id": 2, "category_id": 5, "segmentation": {"size": list(SIZE), "counts": [24, 4, 740]}},
        {"id": 21, "image_id": 2, "category_id": 6, "segmentation": [[0, 0, 4, 0, 4, 4, 0, 4]]},
        {"id": 22, "image_id": 2, "category_id": 5, "segmentation": [[9, 9, 13, 9, 13, 13, 9, 13]]},
        {"id": 23, "image_id": 2, "category_id": 5, "segmentation": [[9, 9, 9, 9, 9, 9]]},
    ]
    content = {
        "images": [{"id": n, "file_name": f"{n}.jpg", "height": SIZE[0], "width": SIZE[1]} for n in (1, 2, 3)],
        "categories": [{"id": 5, "name": "Dog"}, {"id": 6, "name": "Traffic Light"}],
        "annotations": annotations,
        "expressions": [
            {"image_id": 1, "expression": "the dog on the left.", "annotation_ids": [10]},
            {"image_id": 1, "expression": "a cat", "annotation_ids": []},
        ],
        "captions": [{"image_id": 1, "caption": "<p> Two dogs </p> [SEG:10,11] on grey."}],
    }
    write_json(root / "annotations" / "instances_train2017.json", content)
    return root


def youtube_vis_folder(root: Path) -> Path:
    for n in range(3):
        picture(root / "train" / "JPEGImages" / "v1" / f"{n:05d}.jpg")
    rle = {"size": list(SIZE), "counts": [48, 6, 714]}
    content = {
        "videos": [{"id": 1, "file_names": [f"v1/{n:05d}.jpg" for n in range(3)], "height": 24, "width": 32}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [{"id": 4, "video_id": 1, "category_id": 1, "segmentations": [None, rle, None]}],
    }
    write_json(root / "train.json", content)
    return root


def davis_folder(root: Path, mevis: bool = False) -> Path:
    """Two objects in three frames, the second frame without annotation; the last expression is of an unknown object."""
    for n in range(3):
        picture(root / "JPEGImages" / "park" / f"{n:05d}.jpg")
    both = block((0, 4), (0, 4), 1) + block((10, 14), (10, 20), 2)
    ids = [{"obj_id": "1"}, {"obj_id": ["1", "2"]}, {"obj_id": "9"}]
    if mevis:
        ids = [{"obj_id": [0], "anno_id": [31]}, {"obj_id": [0, 1], "anno_id": [31, 32]}, {"anno_id": [99]}]
        rle = {"size": list(SIZE), "counts": [0, 4, 764]}
        write_json(root / "mask_dict.json", {"31": [rle, None, rle], "32": [None, None, rle]})
    else:
        palette_png(root / "Annotations" / "park" / "00000.png", both)
        palette_png(root / "Annotations" / "park" / "00002.png", block((0, 4), (0, 4), 1))
    texts = ("A  dog runs.", "a dog and a man", "a bird")
    expressions = {str(n): {"exp": text, **who} for n, (text, who) in enumerate(zip(texts, ids))}
    frames = [f"{n:05d}" for n in range(3)]
    write_json(root / "meta_expressions.json", {"videos": {"park": {"frames": frames, "expressions": expressions}}})
    return root
