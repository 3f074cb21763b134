"""Orbax folders: bit-exact there and back, restored onto any mesh and dtype, readable without this package."""

import dataclasses
import json
import subprocess
import sys

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import nnx
from tiny_checkpoint import assert_same_tensors

import vglamm_jax
from vglamm_jax.config import LoraConfig
from vglamm_jax.convert import engine, manifest, orbax_read
from vglamm_jax.convert.convert import convert
from vglamm_jax.convert.from_model import save
from vglamm_jax.convert.kinds import open_checkpoint
from vglamm_jax.convert.load import load
from vglamm_jax.convert.torch_io import CheckpointError, open_tensors
from vglamm_jax.models.lora import attach, merge


def test_the_release_comes_back_as_it_was(release, orbax, tmp_path):
    done = convert(orbax, tmp_path / "back", "safetensors")
    assert done.left_out == []
    home = open_tensors(release / "checkpoint")
    back = open_tensors(tmp_path / "back")
    towers = {name for name in back if name.startswith("model.vision_tower.")}
    assert set(back) - towers == set(home) and len(towers) == len(open_tensors(release / "internvideo2.safetensors"))
    for name, tensor in home.items():
        assert tensor.read().tobytes() == back[name].read().tobytes(), name
    assert_same_tensors(release / "clip", tmp_path / "back" / "clip")
    for name in ("config.json", "generation_config.json", "tokenizer.model"):
        if (release / "checkpoint" / name).is_file():
            assert (release / "checkpoint" / name).read_bytes() == (tmp_path / "back" / name).read_bytes()


def test_its_weights_are_those_that_the_files_give(release, orbax):
    ours, cfg, tokenizer = load(orbax)
    theirs, same, _ = load(release)
    assert cfg == same and (tokenizer / "config.json").is_file()
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for (path, a), b in zip(engine.leaves(ours).items(), jax.tree.leaves(theirs), strict=True):
        assert a.dtype == b.dtype and np.array_equal(a, b), path


@pytest.mark.parametrize(
    "choices", [{"encoders": "image"}, {"encoders": "video", "mask_path": "framewise"}, {"frames": 4, "pool": 1}]
)
def test_what_the_original_cannot_say_of_a_model_is_kept(release, tmp_path, choices):
    cfg = dataclasses.replace(open_checkpoint([release]).checkpoint.model, **choices)
    convert(release, tmp_path / "torch", "safetensors", config=cfg)
    assert load(tmp_path / "torch")[1] == cfg
    convert(tmp_path / "torch", tmp_path / "orbax")
    convert(tmp_path / "orbax", tmp_path / "again", "safetensors")
    assert load(tmp_path / "orbax")[1] == load(tmp_path / "again")[1] == cfg
    said = json.loads((tmp_path / "again" / "config.json").read_text())
    assert said == json.loads((release / "checkpoint" / "config.json").read_text()) | {"vglamm_jax": said["vglamm_jax"]}
    del said["vglamm_jax"]["llm"]
    (tmp_path / "again" / "config.json").write_text(json.dumps(said))
    with pytest.raises(
        CheckpointError, match=r"config\.json: vglamm_jax: VideoGlammConfig: missing llm; it was written"
    ):
        load(tmp_path / "again")


def test_its_folder_may_be_named_from_where_one_is(orbax, monkeypatch):
    monkeypatch.chdir(orbax.parent)
    here, _, _ = load(orbax.name)
    there, _, _ = load(orbax)
    assert all(map(np.array_equal, jax.tree.leaves(here), jax.tree.leaves(there)))
    assert orbax_read.stored(orbax.name) == {path: x.shape for path, x in engine.leaves(there).items()}


def test_another_dtype_is_a_cast(release, orbax):
    model, _, _ = load(orbax, dtype="bfloat16")
    kernel, _, _ = load(release)
    want = kernel.llm.blocks.self_attn.o_proj.kernel[...].astype("bfloat16")
    assert np.array_equal(model.llm.blocks.self_attn.o_proj.kernel[...], want)


def test_orbax_alone_restores_the_parameters(orbax):
    tree = ocp.Checkpointer(ocp.PyTreeCheckpointHandler()).restore(orbax / "params")
    model, _, _ = load(orbax)
    found = {"/".join(str(k.key) for k in path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}
    wanted = engine.leaves(model)
    assert set(found) == set(wanted)
    assert all(np.array_equal(found[path], wanted[path]) for path in found)


ON_A_MESH = """
import sys, numpy as np, jax
jax.config.update("jax_num_cpu_devices", 8)
from vglamm_jax import sharding
from vglamm_jax.convert import engine
from vglamm_jax.convert.load import load
from vglamm_jax.models import layers
from vglamm_jax.models.videoglamm import VideoGlamm
whole, cfg, _ = load(sys.argv[1])
mesh = sharding.make_mesh(1, 4, 2)
module = layers.abstract(VideoGlamm, cfg)
placed = sharding.shardings(module, mesh)
model, _, _ = load(sys.argv[1], shardings=placed)
split = 0
for (path, a), b, where in zip(engine.leaves(model).items(), jax.tree.leaves(whole), jax.tree.leaves(placed)):
    assert a.sharding == where, path
    shard = where.shard_shape(a.shape)
    assert len(a.addressable_shards) == 8 and all(s.data.shape == shard for s in a.addressable_shards), path
    assert np.array_equal(a, b), path
    split += shard != a.shape
assert split > 20, split
print("sharded", split)
"""


def test_a_device_holds_its_own_shards_only(orbax):
    done = subprocess.run([sys.executable, "-c", ON_A_MESH, str(orbax)], capture_output=True, text=True)
    assert done.returncode == 0 and "sharded" in done.stdout, done.stderr[-2000:]


def test_an_unfinished_or_foreign_folder_is_refused(orbax, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no config\.json here"):
        load(tmp_path)
    with pytest.raises(CheckpointError, match=r"holds no vglamm\.json, so it is no finished Orbax checkpoint"):
        orbax_read.read(tmp_path)
    (tmp_path / "vglamm.json").write_text(json.dumps({"format": "vglamm.checkpoint/9"}))
    with pytest.raises(CheckpointError, match=r"format is 'vglamm.checkpoint/9', this version reads"):
        load(tmp_path)
    with pytest.raises(ValueError, match="holds the whole model; leave --clip out"):
        vglamm_jax.load(orbax, clip=tmp_path)


def test_another_config_names_what_does_not_fit(orbax, tiny):
    other = dataclasses.replace(tiny, llm=dataclasses.replace(tiny.llm, mlp_width=tiny.llm.mlp_width + 8))
    with pytest.raises(
        CheckpointError, match=r"does not fit this model: llm/blocks/mlp/.* is \[.*\], this model wants"
    ):
        load(orbax, config=other)


def test_parts_are_no_model(release, tmp_path):
    done = convert(release / "clip", tmp_path / "clip")
    assert list(done.kinds.values()) == ["clip"]
    with pytest.raises(CheckpointError, match=r"holds only parts of a model \(clip\)"):
        load(tmp_path / "clip")


def test_tensors_of_mixed_types_keep_theirs(release, orbax, tmp_path):
    """A stack of float32 and bfloat16 layers is kept as float32 and comes back as both."""
    found = open_checkpoint([release]).checkpoint
    name = "model.layers.1.self_attn.o_proj.weight"
    mixed = dict(found.tensors)
    half = mixed[name].read().astype("bfloat16")
    mixed[name] = dataclasses.replace(mixed[name], dtype=half.dtype, read=lambda: half)
    from vglamm_jax.convert import orbax_io

    (tmp_path / "mixed").mkdir()
    orbax_io.write(dataclasses.replace(found, tensors=mixed), tmp_path / "mixed")
    back = orbax_read.read(tmp_path / "mixed").tensors
    assert back[name].dtype == half.dtype and np.array_equal(back[name].read(), half)
    first = "model.layers.0.self_attn.o_proj.weight"
    assert np.array_equal(back[first].read(), found.tensors[first].read())


def test_the_manifest_knows_every_tensor(orbax):
    entries = manifest.read(orbax)
    tensors = orbax_read.read(orbax).tensors
    assert set(entries) == set(tensors)
    assert all(manifest.digest(tensors[name].read()) == entry.crc32 for name, entry in entries.items())


def test_a_trained_model_is_saved_with_what_it_began_with(release, orbax, tmp_path):
    """Changed weights and LoRA: as Orbax, merged for PyTorch, and LoRA alone; the carried tensors go along."""
    model, cfg, _ = load(orbax)
    model.text_hidden_fcs.fc2.bias[...] = model.text_hidden_fcs.fc2.bias[...] + 1
    lora = LoraConfig(rank=2, alpha=4.0, targets=cfg.llm.lora_targets("v_proj"))
    model = attach(model, lora, nnx.Rngs(0))
    adapter = model.llm.blocks.self_attn.qkv_proj
    adapter.lora_b[...] = adapter.lora_b[...] + 0.1
    cfg = dataclasses.replace(cfg, llm=dataclasses.replace(cfg.llm, lora=lora))
    save(model, cfg, tmp_path / "trained", base=orbax)
    again, same, tokenizer = load(tmp_path / "trained", check=True)
    assert same == cfg and (tokenizer / "tokenizer.model").is_file()
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(model), strict=True))
    save(model, cfg, tmp_path / "torch", "safetensors", base=orbax, merged=True)
    before, after = open_tensors(release / "checkpoint"), open_tensors(tmp_path / "torch")
    changed = {name for name in before if before[name].read().tobytes() != after[name].read().tobytes()}
    layers_changed = {f"model.layers.{i}.self_attn.qkv_proj.weight" for i in range(cfg.llm.depth)}
    assert changed == layers_changed | {"model.text_hidden_fcs.0.2.bias"}
    merged = merge(model).llm.blocks.self_attn.qkv_proj.kernel[0]
    np.testing.assert_allclose(after["model.layers.0.self_attn.qkv_proj.weight"].read().T, merged, rtol=1e-5, atol=1e-6)
    assert_same_tensors(release / "clip", tmp_path / "torch" / "clip")
    convert(tmp_path / "trained", tmp_path / "adapter", "peft")
    factors = [name for name in open_tensors(tmp_path / "adapter" / "adapter_model.safetensors") if ".lora_" in name]
    assert len(factors) == 2 * cfg.llm.depth
