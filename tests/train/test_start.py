"""Where weights come from before the first step: checkpoints of every layout, parts of them, on any mesh."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import export_process
import jax
import numpy as np
import pytest
from conftest import LONG

from vglamm_jax.config import LoraConfig, VideoGlammConfig, from_json
from vglamm_jax.convert.convert import convert
from vglamm_jax.convert.engine import leaves
from vglamm_jax.convert.load import load
from vglamm_jax.convert.orbax_read import describe
from vglamm_jax.convert.torch_io import CheckpointError, open_tensors
from vglamm_jax.train import begun_with, loop, mesh, start
from vglamm_jax.train.config import MeshConfig, StartConfig


def begun(cfg):
    return leaves(start.starting_model(cfg, mesh.make_mesh(MeshConfig(), jax.devices()[:1])))


@pytest.fixture(scope="module")
def towers(began, tmp_path_factory):
    """Everything but the adapters in one folder, as `vglamm convert LLM CLIP INTERNVIDEO2 SAM2` makes it."""
    (release, orbax), out = began, tmp_path_factory.mktemp("towers")
    for part in ("llm", "sam2"):
        convert(orbax, out / part, part=part)
    return convert(
        [out / "llm", release / "clip", release / "internvideo2.safetensors", out / "sam2"],
        out / "start",
        config=export_process.released(),
    ).dest


def test_towers_and_a_language_model_are_completed(began, towers, tmp_path):
    """Adapters come from parts, or are made at random and learnt; else they are missed."""
    whole = leaves(load(began[1])[0])
    cfg = export_process.config(towers, tmp_path)
    with pytest.raises(
        CheckpointError, match=r"has no .*mm_projector/.* do not train; name what holds them in"
    ) as said:
        begun(cfg)
    assert "\n" not in str(said.value)
    learning = dataclasses.replace(cfg, trainable=(*cfg.trainable, "mm_projector", "image_mm_projector"))
    found = begun(learning)
    np.testing.assert_array_equal(found["llm/blocks/mlp/down_proj/kernel"], whole["llm/blocks/mlp/down_proj/kernel"])
    kernel = "mm_projector/fc1/kernel"
    assert np.abs(np.asarray(found[kernel] - whole[kernel])).max() > 0 and np.asarray(found[kernel]).std() > 0.1
    cfg.start.parts = (str(began[1]),)
    found = begun(cfg)
    assert all(np.array_equal(found[path], x) for path, x in whole.items())
    assert {path.rpartition("/")[2] for path in found if path not in whole} == {"lora_a", "lora_b"}


@pytest.mark.parametrize("more", [3, -5])
def test_a_language_model_without_the_new_tokens_gets_rows_for_them(towers, tmp_path, capfd, more):
    """Each as the mean of the others; what is not needed goes."""
    cfg = export_process.config(towers, tmp_path)
    cfg = dataclasses.replace(cfg, trainable=(*cfg.trainable, "mm_projector", "image_mm_projector"))
    before, had = begun(cfg), cfg.model.llm.vocab
    llm = dataclasses.replace(cfg.model.llm, vocab=had + more)
    found = begun(dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, llm=llm)))
    done = "the new ones begin as the mean of the old" if more > 0 else "the last ones go"
    assert f"knows {had:,} tokens, this model {had + more:,}: {done}" in capfd.readouterr().err
    for path, turned in (("llm/embed_tokens/embedding", np.asarray), ("llm/lm_head/kernel", np.transpose)):
        table, old = turned(found[path]), turned(before[path])[:had]
        assert len(table) == llm.padded_vocab
        np.testing.assert_array_equal(table[: min(had, llm.vocab)], old[: llm.vocab])
        np.testing.assert_allclose(table[had : llm.vocab], np.tile(old.mean(0), (max(more, 0), 1)), atol=1e-6)
        assert not table[llm.vocab :].any()


def refused(cfg, message: str) -> None:
    with pytest.raises((CheckpointError, FileNotFoundError)) as error:
        begun(cfg)
    assert message in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 700


def test_what_does_not_fit_is_one_line(began, tmp_path):
    cfg = export_process.config(began[1], tmp_path)
    wide = dataclasses.replace(cfg.model.llm, mlp_width=72)
    for folder in began:  # in the original's layout, and ours
        other = dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, llm=wide))
        other.start = StartConfig(checkpoint=str(folder))
        refused(other, "does not fit this model: ")
    cfg.start.parts = (str(tmp_path),)
    refused(cfg, "holds no vglamm.json")


def test_weights_without_a_manifest_are_known_by_their_files(tmp_path, began):
    """Those of a release in the original's layout; its towers lie beside it."""

    def digests(folder):
        cfg = export_process.config(folder, tmp_path)
        return begun_with.digests(cfg)

    shutil.copytree(began[0], tmp_path / "copy")
    before = digests(tmp_path / "copy")
    assert before == digests(began[0]) and before["internvideo2"] is not None
    with (tmp_path / "copy" / "internvideo2.safetensors").open("r+b") as file:
        file.seek(-8, 2)
        file.write(b"replaced")
    assert {field for field, found in digests(tmp_path / "copy").items() if found != before[field]} == {"internvideo2"}


def test_lora_must_be_the_same(began, tmp_path):
    cfg = export_process.config(began[1], tmp_path)
    folder = export_process.export(export_process.changed(cfg), cfg, start.tokenizer_folder(cfg))

    def of(lora: LoraConfig | None, start: StartConfig):
        llm = dataclasses.replace(cfg.model.llm, lora=lora)
        return dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, llm=llm), start=start)

    lora = cfg.model.llm.lora
    part, whole = StartConfig(checkpoint=str(began[1]), parts=(str(folder),)), StartConfig(checkpoint=str(folder))
    for where in (part, whole):
        refused(of(None, where), "has LoRA; set model.llm.lora, or merge it: vglamm convert --merge-lora")
        refused(of(dataclasses.replace(lora, alpha=9), where), "its LoRA has rank 4, alpha 8, targets qkv_proj; model")
    factor = "llm/blocks/self_attn/qkv_proj/lora_b"
    for where in (part, whole):
        found = begun(of(dataclasses.replace(lora, dropout=0.5), where))
        np.testing.assert_array_equal(found[factor], np.full(found[factor].shape, 0.25))


ON_A_MESH = """
import sys, numpy as np, jax
jax.config.update("jax_num_cpu_devices", 8)
sys.path.insert(0, sys.argv[1])
import export_process
from vglamm_jax import sharding
from vglamm_jax.convert.engine import leaves
from vglamm_jax.train import start, vocabulary
mesh, found = sharding.make_mesh(1, 4, 2), []
for folder in sys.argv[2:]:
    cfg = export_process.config(folder, "unused")
    model = start.starting_model(cfg, mesh)
    found.append(leaves(model))
places = leaves(sharding.shardings(model, mesh))
split = 0
for path, x in found[0].items():
    shard = places[path].shard_shape(x.shape)
    assert x.sharding == places[path] and [s.data.shape for s in x.addressable_shards] == [shard] * 8, path
    assert np.array_equal(x, found[1][path]), path
    split += shard != x.shape
had = cfg.model.llm.vocab
for path, axis in vocabulary.AXES.items():
    table = found[0][path]
    wanted = [640 if side == axis else size for side, size in enumerate(table.shape)]
    place = jax.ShapeDtypeStruct(wanted, table.dtype, sharding=places[path])
    more = vocabulary.resized({path: table}, had, had + 3, {path: place})[path]
    assert more.sharding == places[path] and more.addressable_shards[0].data.size == more.size // 8, path
    known, more = np.take(table, range(had), axis), np.moveaxis(np.asarray(more), axis, 0)
    assert np.allclose(more[had : had + 3], known.mean(axis)) and not more[had + 3 :].any(), path
print("sharded", split)
"""


@pytest.mark.slow
def test_each_device_holds_its_shard_alone(began):
    """From both layouts the same."""
    command = [sys.executable, "-c", ON_A_MESH, os.path.dirname(export_process.__file__), *map(str, began)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) > 15


@LONG
@pytest.mark.slow
def test_the_golden_release_is_trained_and_asked(golden, davis, tmp_path):
    """Original -> Orbax -> LoRA recipe -> PyTorch again, key for key -> an answer."""
    pytest.importorskip("torch", reason="the golden checkpoint is a .bin file")
    from vglamm_jax.cli import main

    convert(golden, tmp_path / "weights")
    stored = from_json(VideoGlammConfig, describe(tmp_path / "weights")["model"])
    lora = LoraConfig(rank=4, alpha=8, targets=stored.llm.lora_targets("q_proj,v_proj"))
    model = dataclasses.replace(stored, llm=dataclasses.replace(stored.llm, lora=lora), frames=4)
    model = dataclasses.replace(model, sam2=dataclasses.replace(stored.sam2, image_size=128))
    cfg = export_process.config(tmp_path / "weights", tmp_path / "run", model=model, steps=2, batch_size=2, export=True)
    cfg.data.pack.lengths = (1152,)
    assert loop.train(cfg).finished
    convert(tmp_path / "run" / "model", tmp_path / "torch", "pytorch")
    before, after = open_tensors(golden / "checkpoint"), open_tensors(tmp_path / "torch")
    assert set(before) == set(after)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert np.isfinite([json.loads(line)["train/loss"] for line in lines]).all()
    kept = [name for name in before if name.startswith(("model.vision_tower.", "model.mm_projector."))]
    assert kept and all(before[name].read().tobytes() == after[name].read().tobytes() for name in kept)
    video = str(davis / "JPEGImages" / "dog")
    options = ["--checkpoint", str(tmp_path / "torch"), "--max-new-tokens", "2", "--quiet", "--stride", "20"]
    assert main(["ask", video, "Where is the dog?", *options, "--out", str(tmp_path / "answer")]) == 0
    assert (tmp_path / "answer" / "answer.json").is_file()
