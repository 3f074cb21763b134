"""Reading tensors: every container gives the same values, and every broken one a clear line."""

import json
import os
import pickle
import subprocess
import sys
import textwrap

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from vglamm_jax.convert.torch_io import CheckpointError, Prefixed, open_tensors

VALUES = {
    "a.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "a.bias": np.array([0.5, -2.0], ml_dtypes.bfloat16),
    "b.count": np.array([1, 2, 3], np.int64),
}


def assert_same(tensors):
    assert set(tensors) == set(VALUES)
    for name, value in VALUES.items():
        assert tensors[name].shape == value.shape and tensors[name].dtype == value.dtype
        read = tensors[name].read()
        assert read.dtype == value.dtype
        np.testing.assert_array_equal(read, value)


def torch_values(torch):
    bias = torch.tensor([0.5, -2.0], dtype=torch.bfloat16)
    weight = torch.arange(12, dtype=torch.float32).reshape(4, 3).T.contiguous().T.reshape(3, 4)
    return {"a.weight": weight, "a.bias": bias, "b.count": torch.tensor([1, 2, 3])}


def write_index(folder, name, weight_map):
    (folder / name).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def test_safetensors_file_and_folder(tmp_path):
    save_file(VALUES, tmp_path / "model.safetensors")
    assert_same(open_tensors(tmp_path / "model.safetensors"))
    assert_same(open_tensors(tmp_path))


def test_safetensors_shards(tmp_path):
    weight_map = {}
    for number, name in enumerate(VALUES):
        weight_map[name] = f"model-{number}.safetensors"
        save_file({name: VALUES[name]}, tmp_path / weight_map[name])
    write_index(tmp_path, "model.safetensors.index.json", weight_map)
    assert_same(open_tensors(tmp_path))


@pytest.mark.parametrize("wrapper", [None, "module", "model"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pickle_wrappers(tmp_path, wrapper, zipped):
    torch = pytest.importorskip("torch", reason="pickled checkpoints need PyTorch")
    content = torch_values(torch)
    content = {wrapper: content, "epoch": 3} if wrapper else content
    torch.save(content, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    assert_same(open_tensors(tmp_path / "x.pt"))


def test_pickle_shards(tmp_path):
    torch = pytest.importorskip("torch", reason="pickled checkpoints need PyTorch")
    weight_map = {}
    for name in VALUES:
        weight_map[name] = f"pytorch_model-{name[0]}.bin"
    for shard in set(weight_map.values()):
        torch.save({k: v for k, v in torch_values(torch).items() if weight_map[k] == shard}, tmp_path / shard)
    write_index(tmp_path, "pytorch_model.bin.index.json", weight_map)
    assert_same(open_tensors(tmp_path))
    (tmp_path / "pytorch_model-b.bin").unlink()
    with pytest.raises(CheckpointError, match=r"names pytorch_model-b\.bin, not in .*download the missing part"):
        open_tensors(tmp_path)


def test_transposed_tensor_reads_in_its_own_order(tmp_path):
    torch = pytest.importorskip("torch", reason="pickled checkpoints need PyTorch")
    value = torch.arange(6, dtype=torch.bfloat16).reshape(2, 3)
    torch.save({"t": value.T}, tmp_path / "x.pt")
    np.testing.assert_array_equal(open_tensors(tmp_path / "x.pt")["t"].read(), value.T.float().numpy())


class Runs:
    def __reduce__(self):
        return (os.system, ("touch was_run",))


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch", reason="pickled checkpoints need PyTorch")
    monkeypatch.chdir(tmp_path)
    torch.save({"model": {"w": torch.zeros(2)}, "extra": Runs()}, "x.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Runs()))
    for name in ("x.pt", "plain.pt"):
        with pytest.raises(CheckpointError, match=f"{name}: refused, it holds Python objects besides tensors"):
            open_tensors(tmp_path / name)
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_pickle(tmp_path, zipped):
    torch = pytest.importorskip("torch", reason="pickled checkpoints need PyTorch")
    torch.save({"w": torch.zeros(1000)}, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    data = (tmp_path / "x.pt").read_bytes()
    for keep in (len(data) // 2, 40, 0):
        (tmp_path / "x.pt").write_bytes(data[:keep])
        with pytest.raises(CheckpointError, match=r"x\.pt: (cut short|damaged).*download it again") as caught:
            open_tensors(tmp_path / "x.pt")
        assert "\n" not in str(caught.value)


def test_truncated_safetensors(tmp_path):
    save_file(VALUES, tmp_path / "model.safetensors")
    data = (tmp_path / "model.safetensors").read_bytes()
    for keep in (len(data) - 4, 20, 0):
        (tmp_path / "model.safetensors").write_bytes(data[:keep])
        with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged or cut short"):
            open_tensors(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such checkpoint"):
        open_tensors(tmp_path / "absent.pt")
    with pytest.raises(FileNotFoundError, match=r"expected one of .*found none"):
        open_tensors(tmp_path)
    for name in ("one.pt", "two.pt"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"2 candidates \(one\.pt, two\.pt"):
        open_tensors(tmp_path)


def test_broken_index(tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(CheckpointError, match="not a checkpoint index"):
        open_tensors(tmp_path)
    save_file({"a.bias": VALUES["a.bias"]}, tmp_path / "one.safetensors")
    write_index(tmp_path, "model.safetensors.index.json", {"a.bias": "one.safetensors", "a.weight": "one.safetensors"})
    with pytest.raises(CheckpointError, match=r"one\.safetensors lacks a\.weight"):
        open_tensors(tmp_path)


def test_without_torch_says_what_to_install(tmp_path):
    (tmp_path / "x.pt").write_bytes(b"anything")
    program = f"""
        import sys
        sys.modules["torch"] = None
        from vglamm_jax.convert.torch_io import CheckpointError, open_tensors
        try:
            open_tensors({str(tmp_path / "x.pt")!r})
        except CheckpointError as error:
            print(error)
    """
    printed = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True).stdout
    assert "pip install vglamm_jax[torch]" in printed and printed.count("\n") == 1


def test_prefixed_view(tmp_path):
    save_file(VALUES, tmp_path / "model.safetensors")
    view = Prefixed(open_tensors(tmp_path), "a.")
    assert sorted(view) == ["bias", "weight"] and len(view) == 2
    np.testing.assert_array_equal(view["weight"].read(), VALUES["a.weight"])
