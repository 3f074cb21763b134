"""The finished model of a run: a whole checkpoint, which turns back into what the run began with and has learnt."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import export_process
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_checkpoint

from vglamm_jax.config import VideoGlammConfig, from_json
from vglamm_jax.convert.convert import convert
from vglamm_jax.convert.load import load
from vglamm_jax.convert.torch_io import open_tensors
from vglamm_jax.convert.verify import check, compare
from vglamm_jax.models.lora import merge
from vglamm_jax.train import start
from vglamm_jax.train import state as states
from vglamm_jax.train.export import export
from vglamm_jax.train.trainable import group_of


@pytest.fixture(scope="module")
def run(began, tmp_path_factory):
    """(config, state, exported folder) of a run from the Orbax folder, frozen weights rounded as for accelerators."""
    cfg = export_process.config(began[1], tmp_path_factory.mktemp("run"))
    state = export_process.changed(cfg)
    rounded = jax.tree.map(lambda x: jax.device_put(np.asarray(x).astype(jnp.bfloat16), x.sharding), state.frozen)
    state = dataclasses.replace(state, frozen=rounded)
    return cfg, state, Path(export(state, cfg, start.tokenizer_folder(cfg)))


def learns(cfg, path: str) -> bool:
    return group_of(path, cfg.trainable) is not None


def test_it_is_what_was_learnt_and_what_was_there(began, run):
    """Masters are written as they are; frozen weights are those of the start, not what bfloat16 made of them."""
    cfg, state, folder = run
    assert check(folder) > 300
    found, same, _ = load(folder)
    assert same == cfg.model
    before, _, _ = load(began[1])
    before, learnt = tiny_leaves(before), tiny_leaves(state.train)
    for path, x in tiny_leaves(found).items():
        np.testing.assert_array_equal(x, learnt[path] if learns(cfg, path) else before[path], err_msg=path)
    kernel = "clip/blocks/mlp/fc1/kernel"
    held = np.asarray(tiny_leaves(state.frozen)[kernel], np.float32)
    assert np.abs(held - before[kernel]).max() > 0  # the device holds it rounded


def tiny_leaves(tree) -> dict:
    return {name.replace(".", "/"): x for name, x in states.named(tree).items()}


def test_for_pytorch_it_is_the_release_key_for_key(began, run, tmp_path):
    """LoRA merged, for that layout has no place for it; every tensor in the type it had, but for what was learnt."""
    release, folder = began[0], run[2]
    convert(folder, tmp_path / "torch", "safetensors")
    tiny_checkpoint.assert_same_tensors(release / "clip", tmp_path / "torch" / "clip")
    tower = "internvideo2.safetensors"
    tiny_checkpoint.assert_same_tensors(release / tower, tmp_path / "torch" / tower)
    before, after = open_tensors(release / "checkpoint"), open_tensors(tmp_path / "torch")
    assert {name for name in after if not name.startswith("model.vision_tower.")} == set(before)
    changed = {name for name in before if before[name].read().tobytes() != after[name].read().tobytes()}
    assert {name for name in before if name.startswith(("lm_head.", "model.embed_tokens.", "model.text_"))} <= changed
    decoder = "model.visual_model.sam_mask_decoder."
    assert {name.startswith(decoder) for name in changed if name.startswith("model.visual_model.")} == {True}
    kernel = merge(load(folder)[0]).llm.blocks.self_attn.qkv_proj.kernel[1]
    found = after["model.layers.1.self_attn.qkv_proj.weight"].read()
    np.testing.assert_allclose(found.T, kernel, rtol=1e-5, atol=1e-6)
    for name in ("tokenizer.model", "added_tokens.json"):
        assert (tmp_path / "torch" / name).read_bytes() == (release / "checkpoint" / name).read_bytes()
    said, before = (
        json.loads((place / "config.json").read_text()) for place in (tmp_path / "torch", release / "checkpoint")
    )
    assert from_json(VideoGlammConfig, said.pop("vglamm_jax")) == export_process.released()
    assert said == before


def test_lora_leaves_alone_or_merged(run, tmp_path):
    _, state, folder = run
    convert(folder, tmp_path / "peft", "peft")
    adapter = open_tensors(tmp_path / "peft" / "adapter_model.safetensors")
    factor = adapter["base_model.model.model.layers.1.self_attn.qkv_proj.lora_B.weight"].read()
    np.testing.assert_array_equal(factor.T, state.train.llm.blocks.self_attn.qkv_proj.lora_b[1])
    convert(folder, tmp_path / "merged", merge_lora=True)
    assert load(tmp_path / "merged")[1].llm.lora is None


def test_a_later_run_begins_with_it_and_keeps_what_it_carries(began, run, tmp_path):
    """From files of the original's layout, parts from the run before; averaged weights are the ones exported."""
    cfg = export_process.config(began[0], tmp_path, trainable=("text_hidden_fcs",))
    cfg.start.parts = (str(run[2]),)
    state = export_process.changed(cfg)
    state = dataclasses.replace(state, ema=jax.tree.map(lambda x: export_process.moved(x, 1), state.train))
    found = compare(run[2], Path(export(state, cfg, start.tokenizer_folder(cfg))))
    assert found.same > 300 and len(found.differing) == 4
    assert all(line.startswith("model.text_hidden_fcs.0.") for line in found.differing)


@pytest.mark.slow
def test_two_processes_write_what_one_would(began, run, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, export_process.__file__, str(began[1]), str(tmp_path)]
    command += ["--coordinator", f"127.0.0.1:{port}", "--processes", "2", "--process"]
    env = os.environ | {"JAX_NUM_CPU_DEVICES": "1", "NPROC": "1"}
    both = [
        subprocess.Popen([*command, str(number)], env=env, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True)
        for number in range(2)
    ]
    said = [process.communicate(timeout=240)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert check(tmp_path / "model") > 300
    found = compare(run[2], tmp_path / "model")
    assert found.equal and found.other_parts == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]
    assert json.loads((tmp_path / "model" / "vglamm.json").read_text()) == json.loads(
        (run[2] / "vglamm.json").read_text()
    )
