"""What data sets of pictures with a class number in every pixel share: one object and one turn a class."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from vglamm_jax.data.masks import encode
from vglamm_jax.data.schema import BadRecord, Example, Obj
from vglamm_jax.data.sources.own import DataError, segment_turn
from vglamm_jax.data.sources.pictures import guarded, picture, share
from vglamm_jax.data.sources.registry import Part

IGNORED = 255
_ONE_CHANNEL = ("1", "L", "P", "I", "I;16")


def records(
    source: str,
    split: str,
    root: Path,
    names: Mapping[int, str],
    pairs: Iterable[tuple[str, str]],
    part: Part,
    ignored: Collection[int] = (IGNORED,),
) -> Iterator[Example | BadRecord]:
    """An example for each (picture, label map), both paths under `root`; `names` are those of the label values."""
    for image, labels in share(pairs, part):
        id = Path(image).stem
        yield from guarded(source, id, _example(source, split, root, id, image, labels, names, ignored))


def read_labels(path: Path) -> np.ndarray:
    """Whole numbers [H, W] from a grey or palette PNG, column by column as run lengths are. Raises DataError."""
    try:
        with Image.open(path) as image:
            if image.mode not in _ONE_CHANNEL:
                raise DataError(f"{path} has colours (mode {image.mode}); expected one class number a pixel")
            return np.asfortranarray(image, np.uint8 if image.mode in ("1", "L", "P") else np.int32)
    except FileNotFoundError as error:
        raise DataError(f"its label map {path} is missing") from error
    except (OSError, SyntaxError) as error:
        raise DataError(f"{path} is not a readable picture") from error


def _example(source, split, root: Path, id: str, image: str, labels: str, names, ignored) -> Iterator[Example]:
    """Raises DataError."""
    media, values = picture(root, image), read_labels(root / labels)
    if values.shape != media.size:
        raise DataError(f"label map of {values.shape[1]}x{values.shape[0]}, picture of {media.size[1]}x{media.size[0]}")
    present = [value for value in np.flatnonzero(np.bincount(values.ravel(order="K"))).tolist() if value not in ignored]
    unknown = [value for value in present if value not in names]
    if unknown:
        raise DataError(f"{root / labels} has label values without a name: {unknown[:5]}")
    if not present:
        raise DataError("no class is marked in it")
    by_name = {names[value]: [other for other in present if names[other] == names[value]] for value in present}
    masks = {name: np.logical_or.reduce([values == value for value in found]) for name, found in by_name.items()}
    yield Example(
        id=id,
        source=source,
        split=split,
        media=media,
        objects=tuple(Obj(id=name, category=name, masks={0: encode(mask)}) for name, mask in masks.items()),
        turns=tuple(segment_turn(name, [name], "image") for name in masks),
        independent=True,
    )
