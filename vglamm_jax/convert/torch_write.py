"""Writes PyTorch checkpoints one tensor at a time: safetensors, sharded `.bin`, and single `.pt` files.

Both containers are written here and not by their libraries, which want every tensor of a file in memory at
once: a safetensors file is a JSON header, known from the shapes, and the raw values; a `torch.save` file is an
uncompressed zip archive of a pickle, known from the shapes too, and the raw values. Memory in use is that of
the largest tensor, whatever the size of a shard. The results are what the libraries would have written.
"""

import collections
import io
import json
import math
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from vglamm_jax.convert.ahead import ahead
from vglamm_jax.convert.torch_io import SAFETENSORS_DTYPES, CheckpointError, LazyTensor, Tensors

Progress = Callable[[int, int], None]  # bytes written so far, bytes in all
SHARD_BYTES = 5 * 10**9  # of transformers
SAFETENSORS_NAMES = {np.dtype(dtype): name for name, dtype in SAFETENSORS_DTYPES.items()}
# A safetensors file holds the widest types first, so that every tensor is aligned.
SAFETENSORS_ORDER = ("I64", "F64", "F32", "I32", "BF16", "F16", "I16", "I8", "U8", "BOOL")
STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
ZIP64_BYTES = 2**30  # records from here on get the long form of zip sizes
ZIP_HEADER, ZIP64_SIZES, ZIP_EXTRA_HEADER = 30, 20, 4  # bytes before a record, its name and extra field aside
ALIGNMENT = 64  # of the values in a `torch.save` file, so that it can be memory-mapped


def write_safetensors(
    folder: Path,
    tensors: Tensors,
    *,
    name: str = "model",
    shard_bytes: int = SHARD_BYTES,
    progress: Progress | None = None,
) -> list[Path]:
    """`model.safetensors`, or shards of at most `shard_bytes` (or one tensor) with their index.

    Returns:
      The files written, the index last.

    Raises:
      CheckpointError: a tensor of a type the format lacks, or whose values are not as announced.
      FileExistsError: one of the files is there.
    """
    return _write_shards(Path(folder), tensors, name, ".safetensors", shard_bytes, _safetensors_file, progress)


def write_bin(
    folder: Path,
    tensors: Tensors,
    *,
    name: str = "pytorch_model",
    shard_bytes: int = SHARD_BYTES,
    progress: Progress | None = None,
) -> list[Path]:
    """`pytorch_model.bin`, or shards with their index, as `torch.save` writes them. Returns and raises as above.

    Raises:
      ModuleNotFoundError: PyTorch is not installed.
    """
    import_torch(Path(folder))
    return _write_shards(Path(folder), tensors, name, ".bin", shard_bytes, _pickle_file, progress)


def write_pt(file: Path, tensors: Tensors, *, wrapper: str | None = None, progress: Progress | None = None) -> Path:
    """One file as `torch.save` writes it, the tensors under the key `wrapper` if given. Raises as `write_bin`."""
    file = Path(file)
    import_torch(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    _pickle_file(file, dict(tensors), _Report(tensors, progress), wrapper)
    return file


def shards(tensors: Tensors, shard_bytes: int) -> list[dict[str, LazyTensor]]:
    """Tensors in order, as many to a shard as fit in `shard_bytes`; a larger one has a shard to itself."""
    found: list[dict[str, LazyTensor]] = [{}]
    filled = 0
    for name, tensor in tensors.items():
        if found[-1] and filled + tensor.nbytes > shard_bytes:
            found.append({})
            filled = 0
        found[-1][name] = tensor
        filled += tensor.nbytes
    return found


def import_torch(path: Path) -> Any:
    try:
        import torch
    except ImportError as error:
        raise ModuleNotFoundError(
            f"{path}: writing it needs PyTorch: pip install vglamm_jax[torch]; safetensors needs nothing"
        ) from error
    return torch


class _Report:
    def __init__(self, tensors: Tensors, progress: Progress | None):
        self.done, self.total, self.progress = 0, sum(t.nbytes for t in tensors.values()), progress

    def add(self, tensor: LazyTensor) -> None:
        self.done += tensor.nbytes
        if self.progress is not None:
            self.progress(self.done, self.total)


def _write_shards(
    folder: Path,
    tensors: Tensors,
    name: str,
    ending: str,
    shard_bytes: int,
    write: Callable[[Path, dict[str, LazyTensor], _Report], None],
    progress: Progress | None,
) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    pieces, report = shards(tensors, shard_bytes), _Report(tensors, progress)
    if len(pieces) == 1:
        files = [folder / f"{name}{ending}"]
    else:
        files = [folder / f"{name}-{n:05d}-of-{len(pieces):05d}{ending}" for n in range(1, len(pieces) + 1)]
    for file, piece in zip(files, pieces, strict=True):
        write(file, piece, report)
    if len(pieces) == 1:
        return files
    weight_map = {key: file.name for file, piece in zip(files, pieces, strict=True) for key in piece}
    index = {"metadata": {"total_size": report.total}, "weight_map": weight_map}
    path = folder / f"{name}{ending}.index.json"
    with path.open("x", encoding="utf-8") as file:
        file.write(json.dumps(index, indent=2, sort_keys=True) + "\n")
    return [*files, path]


def values(name: str, tensor: LazyTensor) -> memoryview:
    """The bytes of a tensor, row by row.

    Raises:
      CheckpointError: they are not as many as its shape and type say.
    """
    value = tensor.read()
    if value.shape != tensor.shape or value.dtype != tensor.dtype:
        raise CheckpointError(
            f"{tensor.file}: {name} is {value.dtype} {list(value.shape)}, not {tensor.dtype} {list(tensor.shape)} "
            "as it says; the file changed while it was read"
        )
    return memoryview(np.ascontiguousarray(value).reshape(-1).view(np.uint8))


# Safetensors


def _safetensors_file(path: Path, tensors: dict[str, LazyTensor], report: _Report) -> None:
    kinds = {name: _safetensors_type(name, tensor) for name, tensor in tensors.items()}
    order = sorted(tensors, key=lambda name: (SAFETENSORS_ORDER.index(kinds[name]), name))
    tensors = {name: tensors[name] for name in order}
    with path.open("xb") as file:
        file.write(safetensors_header(tensors))
        for name, tensor in ahead(tensors).items():
            file.write(values(name, tensor))
            report.add(tensor)


def safetensors_header(tensors: Tensors) -> bytes:
    """Length, JSON and padding to a multiple of 8 for a file that holds the values of `tensors` in their order."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, tensor in tensors.items():
        kind, offsets = _safetensors_type(name, tensor), [start, start + tensor.nbytes]
        entries[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": offsets}
        start += tensor.nbytes
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _safetensors_type(name: str, tensor: LazyTensor) -> str:
    return _of(SAFETENSORS_NAMES, tensor.dtype, name, tensor)


def _of(known: dict[Any, str], key: Any, name: str, tensor: LazyTensor) -> str:
    if key not in known:
        raise CheckpointError(f"{tensor.file}: {name} has type {tensor.dtype}, which a checkpoint cannot hold")
    return known[key]


# torch.save


class _Storage:
    """Stands for the values of a tensor in the pickle; the archive holds them as `data/KEY`."""

    def __init__(self, kind: type, key: str, numbers: int):
        self.kind, self.key, self.numbers = kind, key, numbers


class _Tensor:
    """Is pickled as a contiguous tensor on the CPU."""

    def __init__(self, torch: Any, storage: _Storage, shape: tuple[int, ...]):
        self.torch, self.storage, self.shape = torch, storage, shape

    def __reduce__(self):
        strides = tuple(math.prod(max(side, 1) for side in self.shape[axis + 1 :]) for axis in range(len(self.shape)))
        rebuild = self.torch._utils._rebuild_tensor_v2
        return rebuild, (self.storage, 0, self.shape, strides, False, collections.OrderedDict())


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        return ("storage", obj.kind, obj.key, "cpu", obj.numbers) if isinstance(obj, _Storage) else None


def _pickle_file(path: Path, tensors: dict[str, LazyTensor], report: _Report, wrapper: str | None = None) -> None:
    with path.open("xb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for record, content, tensor in _records(import_torch(path), ahead(tensors), wrapper):
            nbytes = len(content) if tensor is None else tensor.nbytes
            with _record(archive, file, f"archive/{record}", nbytes) as member:
                member.write(content if tensor is None else values(content, tensor))
            if tensor is not None:
                report.add(tensor)


def _records(torch: Any, tensors: dict[str, LazyTensor], wrapper: str | None) -> Iterator[tuple[str, Any, Any]]:
    """Name and content of each record in `torch.save`'s order; for values, name of the tensor and the tensor."""
    yield "data.pkl", pickled_names(torch, tensors, wrapper), None
    yield ".format_version", b"1", None
    yield ".storage_alignment", str(ALIGNMENT).encode(), None
    yield "byteorder", sys.byteorder.encode(), None
    for key, (name, tensor) in enumerate(tensors.items()):
        yield f"data/{key}", name, tensor
    yield "version", b"3\n", None


def pickled_names(torch: Any, tensors: Tensors, wrapper: str | None) -> bytes:
    """The `data.pkl` of `torch.save({name: tensor})`, made without the tensors."""
    content: Any = {}
    for key, (name, tensor) in enumerate(tensors.items()):
        kind = getattr(torch, _of(STORAGES, tensor.dtype.name, name, tensor))
        content[name] = _Tensor(torch, _Storage(kind, str(key), math.prod(tensor.shape)), tensor.shape)
    stream = io.BytesIO()
    _Pickler(stream, protocol=2).dump(content if wrapper is None else {wrapper: content})
    return stream.getvalue()


def _record(archive: zipfile.ZipFile, file: IO[bytes], name: str, nbytes: int) -> IO[bytes]:
    """A member of the archive, to be written, whose content will start at a multiple of `ALIGNMENT`."""
    info, long = zipfile.ZipInfo(name), nbytes >= ZIP64_BYTES
    start = file.tell() + ZIP_HEADER + len(name) + (ZIP64_SIZES if long else 0)
    padding = -(start + ZIP_EXTRA_HEADER) % ALIGNMENT
    info.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
    return archive.open(info, "w", force_zip64=long)
