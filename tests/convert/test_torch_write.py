"""Written checkpoints: byte for byte what the libraries write, one tensor in memory at a time."""

import io
import json
import subprocess
import sys
import textwrap
import weakref
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from vglamm_jax.convert import torch_write
from vglamm_jax.convert.torch_io import CheckpointError, LazyTensor, open_tensors, wrapper_of

VALUES = {
    "b.f32": np.arange(12, dtype=np.float32).reshape(3, 4).T,
    "a.bf16": np.arange(5).astype(ml_dtypes.bfloat16),
    "f16": np.ones((2, 1, 3), np.float16),
    "f64": np.float64(3.5).reshape(()),
    "i64": np.arange(3),
    "i32": np.arange(3, dtype=np.int32),
    "i16": np.arange(-3, 3, dtype=np.int16),
    "i8": np.arange(-3, 2, dtype=np.int8),
    "u8": np.arange(7, dtype=np.uint8),
    "empty": np.zeros((0, 3), np.float32),
    "späte.Maske": np.array([True, False, True]),
}


def lazy(values):
    return {name: LazyTensor(v.shape, v.dtype, lambda v=v: v, Path("source")) for name, v in values.items()}


def assert_same(tensors, values=None):
    values = VALUES if values is None else values
    assert set(tensors) == set(values)
    for name, value in values.items():
        read = tensors[name].read()
        assert read.dtype == value.dtype and read.shape == value.shape
        np.testing.assert_array_equal(read, value, err_msg=name)


def torch_values():
    import torch

    def tensor(value):
        value = np.ascontiguousarray(value).reshape(value.shape)
        if value.dtype == ml_dtypes.bfloat16:
            return torch.tensor(value.view(np.int16)).view(torch.bfloat16)
        return torch.tensor(value).reshape(-1).reshape(value.shape)  # NumPy has its own strides for nothing

    return {name: tensor(value) for name, value in VALUES.items()}


def test_safetensors_is_what_the_library_writes(tmp_path):
    from safetensors.numpy import save_file

    assert torch_write.write_safetensors(tmp_path, lazy(VALUES)) == [tmp_path / "model.safetensors"]
    contiguous = {name: np.ascontiguousarray(value).reshape(value.shape) for name, value in VALUES.items()}
    save_file(contiguous, tmp_path / "library", metadata={"format": "pt"})
    assert (tmp_path / "model.safetensors").read_bytes() == (tmp_path / "library").read_bytes()
    assert_same(open_tensors(tmp_path))


@pytest.mark.parametrize("wrapper", [None, "model"])
def test_pt_is_what_torch_writes(tmp_path, wrapper):
    """Every record of the archive is equal, down to the pickle; only the archive's random id is left out."""
    torch = pytest.importorskip("torch", reason="torch.save is the reference")
    path = torch_write.write_pt(tmp_path / "x.pt", lazy(VALUES), wrapper=wrapper)
    expected = io.BytesIO()
    torch.save({wrapper: torch_values()} if wrapper else torch_values(), expected)
    ours, theirs = zipfile.ZipFile(path), zipfile.ZipFile(expected)
    names = [info.filename for info in theirs.infolist()]
    assert [info.filename for info in ours.infolist()] == names[:-1] and names[-1].endswith("serialization_id")
    for name in names[:-1]:
        assert ours.read(name) == theirs.read(name), name
    assert wrapper_of(path) == wrapper
    assert_same(open_tensors(path))


def test_long_records_are_read_and_mapped(tmp_path, monkeypatch):
    """Records of a gigabyte and more have another header; here all have."""
    torch = pytest.importorskip("torch", reason="torch.load is the reference")
    monkeypatch.setattr(torch_write, "ZIP64_BYTES", 0)
    path = torch_write.write_pt(tmp_path / "x.pt", lazy(VALUES))
    for mmap in (True, False):
        loaded = torch.load(path, weights_only=True, mmap=mmap)
        assert all(torch.equal(value, loaded[name]) for name, value in torch_values().items())
        assert all(value.is_contiguous() for value in loaded.values())
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        for info in archive.infolist():
            file.seek(info.header_offset + 26)
            name, extra = np.frombuffer(file.read(4), np.uint16)
            assert (info.header_offset + 30 + int(name) + int(extra)) % torch_write.ALIGNMENT == 0


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_shards_and_their_index(tmp_path, kind):
    values = {f"t{n}": np.full(10 + n, n, np.float32) for n in range(6)} | {"huge": np.ones(100, np.float32)}
    if kind == "bin":
        pytest.importorskip("torch", reason="only PyTorch pickles tensors")
        files = torch_write.write_bin(tmp_path, lazy(values), shard_bytes=100)
        stem = "pytorch_model"
    else:
        files = torch_write.write_safetensors(tmp_path, lazy(values), shard_bytes=100)
        stem = "model"
    assert [file.name for file in files] == [
        *(f"{stem}-{n:05d}-of-00005.{kind}" for n in range(1, 6)),
        f"{stem}.{kind}.index.json",
    ]
    index = json.loads(files[-1].read_text())
    assert index["metadata"] == {"total_size": sum(v.nbytes for v in values.values())}
    by_shard = [[name for name, shard in index["weight_map"].items() if shard == file.name] for file in files[:-1]]
    assert by_shard == [["t0", "t1"], ["t2", "t3"], ["t4"], ["t5"], ["huge"]]
    assert_same(open_tensors(tmp_path), values)


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_two_tensors_in_memory_at_a_time(tmp_path, kind):
    """Whatever the size of a shard: each tensor is gone when the next is read."""
    if kind == "bin":
        pytest.importorskip("torch", reason="only PyTorch pickles tensors")
    alive, seen = [], []

    def read(n):
        assert len([ref for ref in alive if ref() is not None]) <= 1, "the one being written"
        value = np.full((50, 2), n, np.float32)
        alive.append(weakref.ref(value))
        return value

    tensors = {
        f"t{n}": LazyTensor((50, 2), np.dtype(np.float32), lambda n=n: read(n), Path("source")) for n in range(5)
    }
    write = torch_write.write_bin if kind == "bin" else torch_write.write_safetensors
    write(tmp_path, tensors, progress=lambda *bytes_done: seen.append(bytes_done))
    assert seen == [(400 * n, 2000) for n in range(1, 6)] and len(alive) == 5


def test_what_cannot_be_written_is_named(tmp_path):
    odd = {"phase": np.zeros(2, np.complex64)}
    with pytest.raises(CheckpointError, match="source: phase has type complex64, which a checkpoint cannot hold"):
        torch_write.write_safetensors(tmp_path, lazy(odd))
    changed = {"w": LazyTensor((3,), np.dtype(np.float32), lambda: np.zeros(2, np.float32), Path("source"))}
    with pytest.raises(CheckpointError, match=r"source: w is float32 \[2\], not float32 \[3\] as it says"):
        torch_write.write_safetensors(tmp_path, changed)
    torch_write.write_safetensors(tmp_path / "twice", lazy(VALUES))
    with pytest.raises(FileExistsError):
        torch_write.write_safetensors(tmp_path / "twice", lazy(VALUES))


def test_without_torch_says_what_to_install(tmp_path):
    program = f"""
        import sys
        sys.modules["torch"] = None
        from pathlib import Path
        from vglamm_jax.convert import torch_write
        for write in (torch_write.write_bin, torch_write.write_pt):
            try:
                write(Path({str(tmp_path)!r}) / "out", {{}})
            except ModuleNotFoundError as error:
                print(error)
    """
    printed = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True).stdout
    assert printed.count("out: writing it needs PyTorch: pip install vglamm_jax[torch]") == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_golden_folder_rewritten(golden, tmp_path, kind):
    """The original's own file again: the same names in the same order, types and bytes."""
    torch = pytest.importorskip("torch", reason="the golden checkpoint is pickled")
    from safetensors.torch import load_file

    source = golden / "checkpoint" / "pytorch_model.bin"
    tensors, expected = open_tensors(source), torch.load(source, weights_only=True)
    if kind == "bin":
        [path] = torch_write.write_bin(tmp_path, tensors)
        found = torch.load(path, weights_only=True)
        assert list(found) == list(expected)
    else:
        [path] = torch_write.write_safetensors(tmp_path, tensors)
        found = load_file(path)
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and found[name].shape == value.shape
        assert torch.equal(found[name].reshape(-1).view(torch.uint8), value.reshape(-1).view(torch.uint8)), name
