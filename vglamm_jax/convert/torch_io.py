"""Tensors of a PyTorch checkpoint, by name, read one at a time as numpy arrays.

One interface for safetensors (needs no PyTorch), `.bin`/`.pt`/`.pth` files, and folders of either,
sharded or not. Pickles are opened with `weights_only=True`: a file that carries code is refused.
"""

import json
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

WRAPPERS = ("module", "model", "state_dict")
PICKLES = (".bin", ".pt", ".pth")
SINGLE_FILES = ("model.safetensors", "pytorch_model.bin")
INDEX_FILES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
SAFETENSORS_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file and what to do."""


@dataclass(frozen=True)
class LazyTensor:
    """Shape and dtype now, values when `read` is called."""

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]
    file: Path

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


Tensors = Mapping[str, LazyTensor]


class Prefixed(Mapping):
    """The tensors whose name starts with `prefix`, under the rest of their name."""

    def __init__(self, tensors: Tensors, prefix: str):
        self.tensors, self.prefix = tensors, prefix
        self.names = [name[len(prefix) :] for name in tensors if name.startswith(prefix)]

    def __getitem__(self, name: str) -> LazyTensor:
        return self.tensors[self.prefix + name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def open_tensors(path: str | Path) -> dict[str, LazyTensor]:
    """Every tensor of a file, of an `.index.json` with its shards, or of a folder that holds either.

    Raises:
      FileNotFoundError: there is no such file, or the folder holds no checkpoint.
      CheckpointError: a damaged or refused file, or a shard that the index names but is not there.
    """
    path = checkpoint_file(Path(path))
    if path.name.endswith(".index.json"):
        return _open_shards(path)
    if path.suffix == ".safetensors":
        return _open_safetensors(path)
    if path.suffix in PICKLES:
        return _open_pickle(path)
    raise CheckpointError(f"{path}: unknown kind of checkpoint; expected .safetensors, {', '.join(PICKLES)}")


def checkpoint_file(path: Path) -> Path:
    """The file to open for a path that may be a folder."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such checkpoint file or folder")
    named = [path / name for pair in zip(INDEX_FILES, SINGLE_FILES) for name in pair if (path / name).is_file()]
    if named:
        return named[0]
    loose = sorted(p for p in path.iterdir() if p.suffix in (".safetensors", *PICKLES))
    if len(loose) == 1:
        return loose[0]
    found = f"{len(loose)} candidates ({', '.join(p.name for p in loose[:4])} ...)" if loose else "none"
    raise FileNotFoundError(f"{path}: expected one of {', '.join(INDEX_FILES + SINGLE_FILES)}; found {found}")


def _open_shards(index: Path) -> dict[str, LazyTensor]:
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = {name: index.parent / Path(name).name for name in set(weight_map.values())}
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index}: not a checkpoint index ({error}); download it again") from error
    missing = sorted(name for name, file in files.items() if not file.is_file())
    if missing:
        raise CheckpointError(f"{index}: names {', '.join(missing)}, not in {index.parent}; download the missing part")
    shards = {name: open_tensors(file) for name, file in files.items()}
    absent = [key for key, name in weight_map.items() if key not in shards[name]]
    if absent:
        raise CheckpointError(f"{index}: {weight_map[absent[0]]} lacks {absent[0]} ({len(absent)} tensors missing)")
    return {key: shards[name][key] for key, name in weight_map.items()}


def _open_safetensors(path: Path) -> dict[str, LazyTensor]:
    try:
        with safe_open(path, framework="np"):  # checks that the file is whole
            pass
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged or cut short ({error}); download it again") from error
    header.pop("__metadata__", None)
    return {name: _lazy_safetensor(entry, 8 + length, name, path) for name, entry in header.items()}


def _lazy_safetensor(entry: Mapping[str, Any], start: int, name: str, path: Path) -> LazyTensor:
    """Read at its place in the file: twice as fast as through the library's map, whose pages stay resident."""
    kind = SAFETENSORS_DTYPES.get(entry["dtype"])
    if kind is None:
        raise CheckpointError(f"{path}: {name} has type {entry['dtype']}, which has no use here")
    shape, dtype, offset = tuple(entry["shape"]), np.dtype(kind), start + entry["data_offsets"][0]

    def read() -> np.ndarray:
        count = int(np.prod(shape, dtype=np.int64))
        values = np.fromfile(path, dtype, count, offset=offset) if count else np.empty(0, dtype)
        if values.size != count:
            raise CheckpointError(f"{path}: cut short at {name}; download it again")
        return values.reshape(shape)

    return LazyTensor(shape, dtype, read, path)


class Window:
    """A memory-mapped file, mapped anew after every gigabyte read: what was read would stay resident otherwise."""

    BYTES = 2**30

    def __init__(self, open_file: Callable[[], Any]):
        self.open_file, self.mapped, self.left = open_file, None, 0

    def file(self, nbytes: int) -> Any:
        """The mapped file, in order to read `nbytes` of it."""
        if self.mapped is None or self.left < 0:
            self.mapped = None  # unmapped before it is mapped again
            self.mapped, self.left = self.open_file(), self.BYTES
        self.left -= nbytes
        return self.mapped


def _open_pickle(path: Path) -> dict[str, LazyTensor]:
    torch = _import_torch(path)
    tensors = _pickled_tensors(torch, path)
    window = Window(lambda: _pickled_tensors(torch, path))
    return {name: _lazy_torch(torch, window, name, tensor, path) for name, tensor in tensors.items()}


def wrapper_of(path: str | Path) -> str | None:
    """The key a `.pt` file keeps its state dict under, None for a bare one or another kind of file."""
    path = Path(path)
    if path.suffix not in PICKLES or not path.is_file():
        return None
    return _unwrapped(_load_pickle(_import_torch(path), path))[0]


def _unwrapped(content: Any) -> tuple[str | None, Any]:
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            return wrapper, content[wrapper]
    return None, content


def _pickled_tensors(torch, path: Path) -> dict[str, Any]:
    content = _unwrapped(_load_pickle(torch, path))[1]
    tensors = {k: v for k, v in content.items() if torch.is_tensor(v)} if isinstance(content, Mapping) else {}
    if not tensors:
        raise CheckpointError(f"{path}: holds no named tensors; expected a state dict, bare or under {WRAPPERS}")
    return tensors


def _import_torch(path: Path):
    try:
        import torch
    except ImportError as error:
        raise CheckpointError(f"{path}: reading it needs PyTorch: pip install vglamm_jax[torch]") from error
    return torch


def _load_pickle(torch, path: Path):
    with path.open("rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"
    if is_zip and not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path}: cut short (the zip archive has no end); download it again")
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except (EOFError, RuntimeError, OSError) as error:
        raise CheckpointError(f"{path}: damaged or cut short ({_first_line(error)}); download it again") from error
    except pickle.UnpicklingError as error:
        if "truncated" in str(error):
            raise CheckpointError(f"{path}: cut short ({_first_line(error)}); download it again") from error
        raise CheckpointError(
            f"{path}: refused, it holds Python objects besides tensors and could run code when opened; "
            "if you trust its source, save its state dict alone with safetensors and pass that file"
        ) from error


def _lazy_torch(torch, window: Window, name: str, tensor, path: Path) -> LazyTensor:
    bfloat16 = tensor.dtype == torch.bfloat16
    dtype = np.dtype(ml_dtypes.bfloat16) if bfloat16 else torch.empty(0, dtype=tensor.dtype).numpy().dtype
    size = tensor.numel() * tensor.element_size()

    def read() -> np.ndarray:
        values = window.file(size)[name].detach().contiguous()
        return values.view(torch.int16).numpy().view(dtype) if bfloat16 else values.numpy()

    return LazyTensor(tuple(tensor.shape), dtype, read, path)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]
