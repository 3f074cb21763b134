"""What can go wrong with a conversion: each fault is one clear line, and sources and earlier results stay whole."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vglamm_jax.cli import main
from vglamm_jax.convert.convert import convert
from vglamm_jax.convert.load import load
from vglamm_jax.convert.torch_io import CheckpointError
from vglamm_jax.convert.verify import check, compare


@pytest.fixture(scope="module")
def towers(release):
    """Two parts of a model, for what is done many times."""
    return [release / "clip", release / "internvideo2.safetensors"]


@pytest.fixture
def copy(orbax, tmp_path):
    return Path(shutil.copytree(orbax, tmp_path / "copy"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def largest(folder: Path) -> Path:
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def test_a_flipped_byte_is_found(release, orbax, copy, capsys):
    assert check(copy) == check(orbax)
    assert compare(release, copy).equal
    stored = largest(copy / "params")
    flip(stored, stored.stat().st_size // 2)
    with pytest.raises(CheckpointError, match=r"copy: not as its manifest says: .* has changed"):
        load(copy, check=True)
    assert main(["convert", "--verify", str(copy)]) == 2
    assert main(["convert", "--verify", str(release), str(copy)]) == 1
    said = capsys.readouterr()
    assert "convert or copy it again" in said.err and "1 of" in said.out and "1 different" in said.out
    load(orbax, check=True)


def test_a_flipped_byte_in_a_pytorch_folder_is_found(orbax, tmp_path):
    convert(orbax, tmp_path / "back", "safetensors")
    assert check(tmp_path / "back") == check(orbax)
    flip(tmp_path / "back" / "model.safetensors", -3)
    with pytest.raises(CheckpointError, match=r"model\.\w+.* has changed"):
        load(tmp_path / "back", check=True)


def test_a_damaged_orbax_folder_says_so(copy):
    stored = largest(copy / "params")
    stored.write_bytes(stored.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"cannot be read .*copy or convert it again"):
        load(copy)
    shutil.rmtree(copy / "params")
    with pytest.raises(CheckpointError, match=r"cannot be read .*copy or convert it again"):
        load(copy)
    (copy / "manifest.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"manifest\.json: not a manifest"):
        check(copy)


FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
from vglamm_jax.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("to", ["orbax", "safetensors"])
def test_a_disk_that_fills_up(towers, tmp_path, to):
    """A limit on the size of files is how a full disk looks to the libraries that write them."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "earlier").write_text("result")
    before, source = contents(tmp_path / "out"), [contents(path.parent) for path in towers]
    command = ["convert", *map(str, towers), str(tmp_path / "out"), "--to", to, "--overwrite", "--quiet"]
    done = subprocess.run([sys.executable, "-c", FULL_DISK, "60000", *command], capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr[-2000:]
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("vglamm: error:") and "/out: File too large" in line and "free on its disk" in line
    assert contents(tmp_path / "out") == before and [contents(path.parent) for path in towers] == source
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


KILLED = """
import os, random, signal, sys, time
from vglamm_jax.convert.convert import convert
from vglamm_jax.convert.verify import check
*sources, folder = sys.argv[1:]

def child(work):
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    return pid

# 0: all of it is there, 1: accepted without all of it, 3: refused
def accepted(dest):
    def work():
        try:
            found = check(dest)
        except (FileNotFoundError, ValueError):
            os._exit(3)
        os._exit(found != check(folder + "/first"))
    return os.waitstatus_to_exitcode(os.waitpid(child(work), 0)[1])

def run(dest):
    convert(sources, dest, overwrite=True)

began = time.monotonic()
assert os.waitpid(child(lambda: run(folder + "/first")), 0)[1] == 0
seconds = time.monotonic() - began
random.seed(0)
killed, dest = 0, folder + "/weights"
for n in range(30):
    pid = child(lambda: run(dest))
    time.sleep(random.uniform(0.1, 0.98) * seconds)
    os.kill(pid, signal.SIGKILL)
    in_time = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    killed += in_time
    seconds *= 1 if in_time else 0.8  # the machine has more time than when it was measured
    for name in os.listdir(folder):  # beside it, too: half-written, or whole and about to be renamed
        assert name in ("first", "weights") or accepted(folder + "/" + name) in (0, 3), name
    if os.path.exists(dest):
        assert accepted(dest) == 0
    if killed == 8:
        break
assert killed == 8, killed
assert os.waitpid(child(lambda: run(dest)), 0)[1] == 0 and accepted(dest) == 0
assert sorted(os.listdir(folder)) == ["first", "weights"], os.listdir(folder)
print("killed", killed)
"""


@pytest.mark.slow
def test_killed_at_any_moment(towers, tmp_path):
    """Nothing half-written is ever taken for a checkpoint, and the next run completes and cleans up."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, towers), str(tmp_path)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
    )
    assert done.returncode == 0 and "killed" in done.stdout, done.stderr[-3000:]


class Malicious:
    def __reduce__(self):
        return (os.system, ("touch /tmp/vglamm-was-here",))


def test_sources_that_cannot_be_read(release, tmp_path, capsys):
    """Each gives one line, and leaves the earlier result as it was."""
    torch = pytest.importorskip("torch")
    source = Path(shutil.copytree(release, tmp_path / "source"))
    home = source / "checkpoint"
    out = tmp_path / "out"
    out.mkdir()
    (out / "earlier").write_text("result")

    def refused(expected: str) -> None:
        assert main(["convert", str(source), str(out), "--overwrite", "--quiet"]) == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1 and expected in said[0], said
        assert contents(out) == {"earlier": b"result"} and not list(tmp_path.glob(".out*"))

    whole = (home / "model.safetensors").read_bytes()
    (home / "model.safetensors").write_bytes(whole[:-1000])
    refused("damaged or cut short")
    shard = "model-00001-of-00002.safetensors"
    (home / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {"model.embed_tokens.weight": shard}}
    (home / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(f"names {shard}, not in")
    (home / "model.safetensors.index.json").unlink()
    with (home / "pytorch_model.bin").open("wb") as file:
        pickle.dump({"model.embed_tokens.weight": Malicious()}, file, protocol=2)
    refused("refused, it holds Python objects besides tensors and could run code when opened")
    torch.save({"model.embed_tokens.weight": torch.zeros(4, 4), "x": Malicious()}, home / "pytorch_model.bin")
    refused("refused, it holds Python objects besides tensors")
    assert not Path("/tmp/vglamm-was-here").exists()
    (home / "pytorch_model.bin").unlink()
    (home / "model.safetensors").write_bytes(whole)
    assert main(["convert", str(source), str(out), "--quiet"]) == 2
    assert "out: exists already" in capsys.readouterr().err


def test_every_misfit_is_named_together(release, tmp_path, capsys):
    from safetensors.numpy import load_file, save_file

    source = Path(shutil.copytree(release, tmp_path / "source"))
    path = source / "checkpoint" / "model.safetensors"
    tensors = load_file(path)
    tensors["model.norm.weigth"] = tensors.pop("model.norm.weight")
    tensors["lm_head.weight"] = tensors["lm_head.weight"][:, :-1].copy()
    tensors["model.extra.weight"] = np.zeros(3, np.float32)
    save_file(tensors, path)
    assert main(["convert", str(source), str(tmp_path / "out"), "--quiet"]) == 2
    said = capsys.readouterr().err
    assert "missing (1): model.norm.weight (nearest there: model.norm.weigth)" in said
    assert "unexpected (2): " in said and "model.extra.weight" in said
    assert "other shape (1): lm_head.weight is" in said


def test_the_help_shows_the_five_commands(capsys):
    with pytest.raises(SystemExit):
        main(["convert", "--help"])
    said = capsys.readouterr().out
    assert said.count("vglamm convert ") >= 6 and "the commands people need" in said
    assert main(["convert", "only-one"]) == 2
    assert "give at least one SOURCE and the DEST" in capsys.readouterr().err
