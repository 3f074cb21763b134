"""Training from a feature cache is training without one, bit for bit; and bfloat16 is almost float32."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_training
import train_process
from conftest import LONG

from vglamm_jax.data.pack import Batch
from vglamm_jax.models import layers
from vglamm_jax.models.videoglamm import VideoGlamm
from vglamm_jax.train import features, mesh, start, trainable
from vglamm_jax.train.config import MeshConfig
from vglamm_jax.train.feature_files import Damaged, Entries
from vglamm_jax.train.state import State

SHAPES = [jax.ShapeDtypeStruct((2, 3), jnp.bfloat16), jax.ShapeDtypeStruct((4,), jnp.float32)]
PIXELS = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)


def unit():
    return [np.arange(6).reshape(2, 3).astype(jnp.bfloat16), np.linspace(0, 1, 4, dtype=np.float32)]


def test_an_entry_comes_back_as_it_was(tmp_path):
    entries = Entries(tmp_path, "clip", {"weights": "a"}, SHAPES)
    path = entries.path(PIXELS)
    assert entries.read(path) is None
    entries.write(path, unit())
    entries.write(path, unit())  # another process was as fast
    for found, wanted in zip(entries.read(path), unit(), strict=True):
        assert found.dtype == wanted.dtype and np.array_equal(found, wanted)
    assert entries.size() == (1, path.stat().st_size) and len(list(path.parent.iterdir())) == 1


def test_other_pixels_or_another_origin_is_another_place(tmp_path):
    entries = Entries(tmp_path, "clip", {"weights": "a"}, SHAPES)
    other = Entries(tmp_path, "clip", {"weights": "b"}, SHAPES)
    changed = PIXELS.copy()
    changed[-1, -1, -1] += 1
    turned = PIXELS.reshape(2, 3, 2)
    places = {e.path(p) for e in (entries, other) for p in (PIXELS, changed, turned)}
    assert len(places) == 6
    assert json.loads((entries.folder / "about.json").read_text()) == {"weights": "a"}


@pytest.mark.parametrize("damage", ["cut", "bit", "shape", "empty"])
def test_damage_is_known(tmp_path, damage):
    entries = Entries(tmp_path, "clip", {}, SHAPES)
    path = entries.path(PIXELS)
    entries.write(path, unit() if damage != "shape" else [unit()[0].T.copy()[:1], unit()[1]])
    content = bytearray(path.read_bytes())
    content[-1] ^= damage == "bit"
    path.write_bytes({"cut": content[:-1], "empty": b""}.get(damage, content))
    with pytest.raises(Damaged, match="is damaged"):
        entries.read(path)


def test_a_full_disk_is_told(tmp_path):
    entries = Entries(tmp_path, "clip", {}, SHAPES)
    path = entries.path(PIXELS)
    path.parent.write_text("in the way")
    with pytest.raises(OSError, match="train without --cache-features"):
        entries.write(path, unit())


def test_an_encoder_that_trains_is_refused():
    module = layers.abstract(VideoGlamm, tiny_training.model())
    train, frozen = trainable.split(module, tiny_training.config("unused"))
    features.check(train)
    with pytest.raises(ValueError, match=r"features: clip/.* trains.*leave --cache-features out"):
        features.check(frozen)


def test_a_checksum_of_weights_sees_values_and_places():
    x = jnp.arange(24, dtype=jnp.float32).reshape(2, 3, 4)
    sums = [np.asarray(features._sums(y)).tolist() for y in (x, x[::-1], x.at[1, 2, 3].add(1e-5), x.astype("bfloat16"))]
    assert len({tuple(pair) for pair in sums}) == 4
    assert features._sums(x).tolist() == jax.jit(features._sums)(x).tolist()


def test_a_row_is_as_large_as_it_is_said():
    cfg = tiny_training.config("unused")
    clip, video, sam2 = 2 * 4 * 16, 1 * 8 * 32, 4 * 4 * 32 + 16 * 16 * 4 + 8 * 8 * 8
    assert features.row_bytes(cfg) == 4 * (clip + video + sam2)
    assert features.row_bytes(dataclasses.replace(cfg, compute="bfloat16")) == 2 * (clip + video + sam2)


def test_what_is_read_is_what_was_encoded(tmp_path):
    """Every frame and clip is stored once, found in another row and place, and made again where it is damaged."""
    cfg = dataclasses.replace(tiny_training.config(tmp_path), batch_size=2, features=str(tmp_path / "cache"))
    cfg.trainable = ("llm",)
    devices = mesh.make_mesh(MeshConfig(), jax.devices()[:1])
    train, frozen = trainable.split(start.starting_model(cfg, devices), cfg)
    draw, fields = np.random.default_rng(0), dict.fromkeys(Batch._fields)
    pixels = {"context": (2, 2, 28, 28, 3), "clips": (2, 2, 28, 28, 3), "sam": (2, 1, 64, 64, 3)}
    batch = Batch(**fields | {name: draw.integers(0, 256, shape, np.uint8) for name, shape in pixels.items()})
    with jax.set_mesh(devices):
        cache = features.Features(cfg, State(jnp.int32(0), train, frozen, ()), devices)
        encoded = jax.tree.map(np.asarray, cache(frozen, batch))
        assert cache.take()["cache/hit_rate"] == 0 and cache.summary().startswith("clip 4 entries")
        turned = jax.tree.map(lambda x: x[::-1], batch)
        for a, b in zip(jax.tree.leaves(cache(frozen, turned)), jax.tree.leaves(encoded), strict=True):
            np.testing.assert_array_equal(a[::-1], b)
        assert cache.take() == {"cache/hit_rate": 1, "cache/damaged": 0}
        path = next((tmp_path / "cache").glob("sam2-*/*/*.safetensors"))
        path.write_bytes(path.read_bytes()[:-1])
        for a, b in zip(jax.tree.leaves(cache(frozen, batch)), jax.tree.leaves(encoded), strict=True):
            np.testing.assert_array_equal(a, b)
        assert cache.take() == {"cache/hit_rate": 7 / 8, "cache/damaged": 1}
        cache(frozen, batch)
        assert cache.take()["cache/hit_rate"] == 1
    cache.close()


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict:
    env = os.environ | train_process.ENVIRONMENT | {"JAX_NUM_CPU_DEVICES": "1"}
    script = Path(train_process.HERE).with_name("feature_runs.py")
    command = [sys.executable, str(script), str(tmp_path_factory.mktemp("features"))]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout) | {"said": done.stderr}


@LONG
@pytest.mark.slow
def test_bfloat16_learns_as_float32_does_with_float32_masters(runs):
    """Three steps; parameters, moments and averages of what trains stay float32."""
    dtypes = runs["bfloat16"]["dtypes"]
    assert dtypes["train"] == ["float32"] and dtypes["frozen"] == ["bfloat16"]
    assert dtypes["opt"] == ["float32", "int32"]
    np.testing.assert_allclose(runs["bfloat16"]["losses"], runs["float32"]["losses"], rtol=0.03)
    assert runs["bfloat16"]["losses"] != runs["float32"]["losses"]


@LONG
@pytest.mark.slow
@pytest.mark.parametrize("name", ["first", "second", "spoilt", "again"])
def test_from_a_cache_training_is_the_same_bit_for_bit(runs, name):
    """In bfloat16, with micro-batches, whether features were there, are there in another order, or were damaged."""
    assert runs[name]["losses"] == runs["bfloat16"]["losses"] and runs[name]["crc"] == runs["bfloat16"]["crc"]
    assert runs[name]["entries"] == 1


@LONG
@pytest.mark.slow
def test_what_is_there_is_found_and_what_is_damaged_made_again(runs):
    rates = {name: [round(said["cache/hit_rate"], 3) for said in runs[name]["rates"]] for name in ("first", "second")}
    assert rates == {"first": [0, 0, 1], "second": [1, 1, 1]}
    assert runs["spoilt"]["rates"][-1]["cache/damaged"] == 2 and runs["again"]["rates"][-1]["cache/damaged"] == 0
    assert runs["said"].count("is damaged") == 2
    assert "8 entries" in runs["first"]["summary"] and runs["second"]["summary"] == runs["first"]["summary"]


@LONG
@pytest.mark.slow
def test_the_command_keeps_features_and_says_how_many_were_found(tmp_path):
    options = ("--config.steps=2", "--cache-features", str(tmp_path / "cache"))
    for found in (0, 1):  # the second run draws the same rows
        workdir = tmp_path / f"run{found}"
        code, said = train_process.ended(train_process.start(workdir, *options), 400)
        assert code == 0 and f"features in {tmp_path / 'cache'}: clip " in said, said
        lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
        # Both batches are drawn before the first step is reported.
        assert [line.get("cache/hit_rate") for line in lines] == [found, None]
        assert [line["cache/damaged"] for line in lines] == [0, 0]
