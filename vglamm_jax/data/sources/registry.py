"""Every data set by name: the module of this folder that reads it, and the options that choose it there."""

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from vglamm_jax.data.schema import BadRecord, Example

Part = tuple[int, int]
WHOLE: Part = (0, 1)


class Source(NamedTuple):
    module: str  # in vglamm_jax/data/sources
    about: str
    options: Mapping[str, Any] = MappingProxyType({})


SOURCES: dict[str, Source] = {
    "own": Source("own_folder", "your own: JSONL, COCO or DAVIS' layout, docs/data_schema.md"),
    # Images: `root` is the original's `dataset_dir`.
    "ade20k": Source("ade20k", "scenes, 150 classes"),
    "cocostuff": Source("cocostuff", "COCO with things and stuff, 182 classes"),
    "mapillary": Source("mapillary", "streets, Mapillary Vistas v2"),
    "pascal_part": Source("pascal_part", "parts of PASCAL VOC objects"),
    "paco_lvis": Source("paco_lvis", "objects and their parts, PACO on LVIS"),
    "refclef": Source("refer_seg", "referring expressions, ImageCLEF", {"dataset": "refclef"}),
    "refcoco": Source("refer_seg", "referring expressions, COCO", {"dataset": "refcoco"}),
    "refcoco+": Source("refer_seg", "referring expressions without places, COCO", {"dataset": "refcoco+"}),
    "refcocog": Source("refer_seg", "long referring expressions, COCO", {"dataset": "refcocog"}),
    "grefcoco": Source("refer_seg", "expressions of none, one or several objects, COCO", {"dataset": "grefcoco"}),
    "llava_instruct": Source("llava_instruct", "conversations about COCO images, no masks"),
    "reason_seg": Source("reason_seg", "questions that take reasoning to know what to segment"),
    "grandf": Source("grandf", "grounded captions written by people, GranD-f", {"dataset": "grandf"}),
    "openpsg_gcg": Source("grandf", "grounded captions, OpenPSG", {"dataset": "openpsg"}),
    "flickr_gcg": Source("flickr_gcg", "grounded captions, Flickr30k"),
    "refcocog_gcg": Source("refcocog_gcg", "grounded captions, RefCOCOg"),
    # Videos: `root` is the original's `video_dataset_dir`.
    "refer_youtube_vos": Source("refer_youtube_vos", "referring expressions, YouTube-VOS"),
    "refer_davis": Source("refer_davis", "referring expressions, DAVIS 2017"),
    "a2d_sentences": Source("a2d_sentences", "actors and actions, a few frames a video"),
    "jhmdb_sentences": Source("jhmdb_sentences", "actors and actions, for evaluation"),
    "mevis": Source("mevis", "expressions of motion, one or several objects"),
    "video_instruct": Source("video_instruct", "questions about ActivityNet videos, no masks"),
    "charades_sta": Source("charades_sta", "moments in indoor videos"),
    "activitynet_captions": Source("activitynet_captions", "moments in ActivityNet videos"),
    "qv_highlights": Source("qv_highlights", "moments that fit a query"),
    "vidstg": Source("vidstg", "who or what, where and when; with masks made before"),
    "vidstg_grounding": Source("vidstg_grounding", "who or what, where and when; boxes, for evaluation"),
    "hcstvg_grounding": Source("hcstvg_grounding", "which person, where and when; boxes, for evaluation"),
    "video_gcg": Source("video_gcg", "grounded captions, BURST and YouTube-VIS"),
    "anet_gcg": Source("anet_gcg", "grounded captions, ActivityNet-Entities"),
    "ytvos_gcg": Source("ytvos_gcg", "grounded captions, YouTube-VOS"),
    "mevis_gcg": Source("mevis_gcg", "grounded captions, MeViS"),
    "vidstg_gcg": Source("vidstg_gcg", "grounded captions, VidSTG"),
    "hcstvg_gcg": Source("hcstvg_gcg", "grounded captions, HC-STVG"),
    "grounded_video_qa": Source("grounded_video_qa", "grounded answers about ActivityNet-Entities"),
    "anet_entities": Source("anet_entities", "captions of ActivityNet-Entities, for evaluation"),
}


def source_named(name: str) -> Source:
    """Raises ValueError naming those there are."""
    if name not in SOURCES:
        raise ValueError(f"no data set {name!r}: choose one of {', '.join(SOURCES)}")
    return SOURCES[name]


def examples(
    name: str, root: str | Path, split: str, part: Part = WHOLE, **options: Any
) -> Iterator[Example | BadRecord]:
    """Records of a data set by its name.

    part: (k, n) reads every n-th record from the k-th on, for n readers side by side; it does not open the others.

    Raises:
        ValueError: an unknown name, or a split the data set does not have.
        FileNotFoundError: a file the data set consists of is missing; names the layout.
    """
    return iter(_function(name)(Path(root), split, part=part, **SOURCES[name].options, **options))


def options_of(name: str) -> dict[str, Any]:
    """What else `examples` of a data set may be told, with the defaults. Raises ValueError for an unknown name."""
    parameters = inspect.signature(_function(name)).parameters
    fixed = {"root", "split", "part", *SOURCES[name].options}
    return {key: parameter.default for key, parameter in parameters.items() if key not in fixed}


def _function(name: str) -> Callable:
    return importlib.import_module(f"vglamm_jax.data.sources.{source_named(name).module}").examples
