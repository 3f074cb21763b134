"""PyTorch -> Orbax -> PyTorch, bit for bit and key for key, for every kind of source there is."""

import json
import shutil

import numpy as np
import pytest
from sam2_reference import hf_parts, make_config
from tiny_checkpoint import assert_same_tensors as assert_same

from vglamm_jax.convert.convert import convert
from vglamm_jax.convert.kinds import kind_of
from vglamm_jax.convert.torch_io import CheckpointError, open_tensors, wrapper_of
from vglamm_jax.convert.verify import compare

torch = pytest.importorskip("torch", reason="makes checkpoints as PyTorch does")
transformers = pytest.importorskip("transformers")


def there_and_back(sources, tmp_path, to="pytorch", **options):
    """The folder that comes out of the Orbax folder made of `sources`."""
    convert(sources, tmp_path / "orbax", **options)
    convert(tmp_path / "orbax", tmp_path / "back", to)
    return tmp_path / "back"


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    config = transformers.LlamaConfig(
        vocab_size=99, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64,
        rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                      "original_max_position_embeddings": 32},
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("llama")
    transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def phi3(tmp_path_factory):
    config = transformers.Phi3Config(
        vocab_size=130, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=64, sliding_window=16, pad_token_id=0,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("phi3")
    transformers.Phi3ForCausalLM(config).save_pretrained(folder, max_shard_size="20KB")
    return folder


@pytest.fixture(scope="module")
def videogpt(tmp_path_factory):
    """The release of VideoGPT+: an adapter of every matrix, and both projectors (facts 2.6)."""
    folder, random = tmp_path_factory.mktemp("videogpt"), torch.Generator().manual_seed(0)

    def values(*shape):
        return torch.randn(shape, generator=random)

    wrapped = "base_model.model.model."
    sizes = {"self_attn.qkv_proj": (32, 96), "self_attn.o_proj": (32, 32)}
    sizes |= {"mlp.gate_up_proj": (32, 80), "mlp.down_proj": (40, 32)}
    factors = {}
    for layer in range(2):
        for name, (inputs, outputs) in sizes.items():
            factors[f"{wrapped}layers.{layer}.{name}.lora_A.weight"] = values(4, inputs)
            factors[f"{wrapped}layers.{layer}.{name}.lora_B.weight"] = values(outputs, 4)
    torch.save(factors, folder / "adapter_model.bin")
    targets = [name.split(".")[1] for name in sizes]
    settings = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "lora_dropout": 0.05, "target_modules": targets}
    (folder / "adapter_config.json").write_text(json.dumps(settings | {"bias": "none", "task_type": "CAUSAL_LM"}))
    widths = {"mm_projector": 24, "image_mm_projector": 16}
    projectors = {}
    for name, width in widths.items():
        projectors |= {f"{wrapped}{name}.0.weight": values(32, width), f"{wrapped}{name}.0.bias": values(32)}
        projectors |= {f"{wrapped}{name}.2.weight": values(32, 32), f"{wrapped}{name}.2.bias": values(32)}
    torch.save(projectors, folder / "non_lora_trainables.bin")
    return folder


def test_the_golden_release(golden, tmp_path):
    back = there_and_back([golden], tmp_path)
    assert_same(golden / "checkpoint", back)
    assert_same(golden / "clip", back / "clip")
    assert_same(golden / "internvideo2.pt", back / "internvideo2.pt")
    assert wrapper_of(back / "internvideo2.pt") == "module"
    for path in (golden / "checkpoint").iterdir():
        if path.suffix in (".json", ".model"):
            assert (back / path.name).read_bytes() == path.read_bytes()
    found = compare(golden, back)
    assert found.equal and found.same == 493 and found.parts == ("clip", "home", "internvideo2", "sam2")


@pytest.mark.parametrize("name", ["clip", "internvideo2.pt", "sam2.pt"])
def test_golden_parts_alone(golden, tmp_path, name):
    part = golden / name
    back = there_and_back([part], tmp_path)
    assert_same(part, back if part.is_dir() else back / name)
    if part.is_file():
        assert wrapper_of(back / name) == wrapper_of(part)


def test_a_bare_internvideo2_file_stays_bare(golden, tmp_path):
    content = torch.load(golden / "internvideo2.pt", weights_only=True)["module"]
    content["text_encoder.bert.embeddings.word_embeddings.weight"] = torch.randn(5, 4)
    content["temp"] = torch.tensor(0.07)
    (tmp_path / "in").mkdir()
    torch.save(content, tmp_path / "in" / "internvideo2.pt")
    shutil.copy(golden / "case.json", tmp_path / "in")
    back = there_and_back([tmp_path / "in" / "internvideo2.pt"], tmp_path)
    assert_same(tmp_path / "in" / "internvideo2.pt", back / "internvideo2.pt")
    assert wrapper_of(back / "internvideo2.pt") is None


@pytest.mark.parametrize("newer", [False, True], ids=["sam2", "sam2.1"])
@pytest.mark.parametrize("kind", ["Sam2Model", "Sam2VideoModel"])
def test_sam2_of_transformers(tmp_path, kind, newer):
    cfg = make_config(newer=newer)
    memory = {
        "image_size": cfg.image_size,
        "memory_attention_num_layers": cfg.memory_attention_depth,
        "memory_attention_feed_forward_hidden_size": cfg.memory_attention_mlp,
        "enable_occlusion_spatial_embedding": newer,
        "enable_temporal_pos_encoding_for_object_pointers": newer,
    }
    parts = hf_parts(cfg)
    if kind == "Sam2Model":
        config = transformers.Sam2Config(**parts)
    else:
        config = transformers.Sam2VideoConfig(**parts, **memory)
    getattr(transformers, kind)(config).save_pretrained(tmp_path / "in")
    assert kind_of(tmp_path / "in") == "transformers_sam2"
    back = there_and_back([tmp_path / "in"], tmp_path, "safetensors")
    assert_same(tmp_path / "in", back)
    assert (back / "config.json").read_bytes() == (tmp_path / "in" / "config.json").read_bytes()


def test_clip_of_transformers_with_its_text_half(tmp_path):
    vision = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2}
    text = vision | {"vocab_size": 50, "max_position_embeddings": 8}
    config = transformers.CLIPConfig(
        vision_config=vision | {"image_size": 28, "patch_size": 14}, text_config=text, projection_dim=8
    )
    transformers.CLIPModel(config).half().save_pretrained(tmp_path / "in")
    back = there_and_back([tmp_path / "in"], tmp_path, "safetensors")
    assert_same(tmp_path / "in", back)
    assert sum(name.startswith("text_model.") for name in open_tensors(back)) > 40


def test_language_models(phi3, llama, tmp_path):
    for name, folder in (("phi3", phi3), ("llama", llama)):
        back = there_and_back([folder], tmp_path / name, "safetensors")
        assert_same(folder, back)
        assert (back / "config.json").read_bytes() == (folder / "config.json").read_bytes()


def test_videogpt_alone_and_kept_beside_its_model(phi3, videogpt, tmp_path):
    (tmp_path / "alone").mkdir()
    shutil.copytree(videogpt, tmp_path / "in")
    shutil.copy(phi3 / "config.json", tmp_path / "in")
    back = there_and_back([tmp_path / "in"], tmp_path / "alone")
    for name in ("adapter_model", "non_lora_trainables"):
        found = next(back.glob(f"{name}.*"))
        assert_same(videogpt / f"{name}.bin", found)
    back = there_and_back([videogpt, phi3], tmp_path / "kept")
    assert_same(phi3, back / "llm")
    assert_same(videogpt / "adapter_model.bin", back / "adapter" / "adapter_model.safetensors")
    assert_same(videogpt / "non_lora_trainables.bin", back / "adapter" / "non_lora_trainables.bin")


def test_an_adapter_with_tables_trained_as_a_whole(phi3, videogpt, tmp_path):
    """`modules_to_save`: alone, it comes back as the adapter it was."""
    shutil.copytree(videogpt, tmp_path / "in")
    (tmp_path / "in" / "non_lora_trainables.bin").unlink()
    path = tmp_path / "in" / "adapter_model.bin"
    table = {f"base_model.model.{name}.weight": torch.ones(130, 32) for name in ("lm_head", "model.embed_tokens")}
    torch.save(torch.load(path, weights_only=True) | table, path)
    shutil.copy(phi3 / "config.json", tmp_path / "in")
    back = there_and_back([tmp_path / "in"], tmp_path)
    assert_same(path, back / "adapter_model.safetensors")


def test_videogpt_merged_starts_a_training_run(phi3, videogpt, golden, tmp_path):
    """Everything a run starts from in one folder: the language model with VideoGPT+ in it, and the towers."""
    sources = [phi3, videogpt, golden / "clip", golden / "internvideo2.pt", golden / "sam2.pt"]
    back = there_and_back(sources, tmp_path, "safetensors", merge_lora=True)
    tensors, factors = open_tensors(back / "llm"), open_tensors(videogpt / "adapter_model.bin")
    name = "model.layers.1.mlp.down_proj"
    a, b = (factors[f"base_model.model.{name}.lora_{side}.weight"].read() for side in "AB")
    want = open_tensors(phi3)[f"{name}.weight"].read() + np.float32(2) * (b @ a)
    np.testing.assert_allclose(tensors[f"{name}.weight"].read(), want, rtol=1e-6, atol=1e-6)
    assert "model.mm_projector.2.bias" in tensors and not any("lora" in key for key in tensors)
    assert compare(tmp_path / "orbax", back / "llm").equal
    assert_same(golden / "clip", back / "clip")
    assert sum(1 for _ in open_tensors(back / "sam2.safetensors")) == len(open_tensors(golden / "sam2.pt"))


@pytest.fixture(scope="module", params=["base_layer", "older"])
def state_dict(request, golden, tmp_path_factory):
    """The original's consolidated training state: every tensor behind PEFT's names, LoRA beside (facts 2.7)."""
    folder, random = tmp_path_factory.mktemp("state"), torch.Generator().manual_seed(1)
    content = dict(torch.load(golden / "checkpoint" / "pytorch_model.bin", weights_only=True))
    clip = open_tensors(golden / "clip")
    prefix = "model.image_vision_tower.vision_tower."
    content |= {prefix + name: torch.from_numpy(t.read().astype(np.float32)) for name, t in clip.items()}
    for layer in range(2):
        stem = f"model.layers.{layer}.self_attn.qkv_proj"
        weight = content.pop(f"{stem}.weight")
        content[f"{stem}{'.base_layer' if request.param == 'base_layer' else ''}.weight"] = weight
        content[f"{stem}.lora_A.default.weight"] = torch.randn(8, weight.shape[1], generator=random)
        content[f"{stem}.lora_B.default.weight"] = torch.randn(weight.shape[0], 8, generator=random)
    torch.save({f"base_model.model.{name}": tensor for name, tensor in content.items()}, folder / "pytorch_model.bin")
    for name in ("config.json", "tokenizer.model"):
        shutil.copy(golden / "checkpoint" / name, folder)
    for name in ("sam2.yaml", "case.json"):
        shutil.copy(golden / name, folder)
    return folder


@pytest.mark.filterwarnings("ignore:LoRA of rank 8")
def test_a_training_state_with_lora(golden, state_dict, tmp_path):
    sources = [state_dict, golden / "clip"]
    back = there_and_back(sources, tmp_path)
    assert_same(state_dict / "pytorch_model.bin", back / "pytorch_model.pt")
    convert(sources, tmp_path / "adapter", "peft")
    # The original trains the word embeddings as a whole beside LoRA (facts 5.1).
    adapter = set(open_tensors(tmp_path / "adapter" / "adapter_model.safetensors"))
    whole = {name for name in adapter if ".lora_" not in name}
    assert len(adapter - whole) == 4
    assert whole == {"base_model.model.lm_head.weight", "base_model.model.model.embed_tokens.weight"}
    convert(sources, tmp_path / "release", "pytorch", merge_lora=True)
    merged, before = open_tensors(tmp_path / "release"), open_tensors(golden / "checkpoint")
    changed = {name for name in before if merged[name].read().tobytes() != before[name].read().tobytes()}
    assert set(merged) == set(before)
    assert changed == {f"model.layers.{layer}.self_attn.qkv_proj.weight" for layer in range(2)}
    with pytest.raises(CheckpointError, match=r"sam2\.pt: .* holds a SAM2 of its own; leave this file out"):
        convert([*sources, golden / "sam2.pt"], tmp_path / "two")


def test_a_dtype_changes_every_float(golden, tmp_path):
    convert(golden / "sam2.pt", tmp_path / "wide", dtype="float32")
    convert(tmp_path / "wide", tmp_path / "back", "pytorch", dtype="bfloat16")
    assert_same(golden / "sam2.pt", tmp_path / "back" / "sam2.pt")
    assert {t.dtype.name for t in open_tensors(tmp_path / "back" / "sam2.pt").values()} == {"bfloat16"}


def test_parts_of_a_whole_model(golden, tmp_path):
    """SAM2 alone in Meta's layout and in that of transformers, CLIP alone, the language model alone."""
    convert(golden, tmp_path / "orbax")
    convert(tmp_path / "orbax", tmp_path / "meta", "pytorch", part="sam2")
    whole = open_tensors(golden / "checkpoint")
    meta = open_tensors(tmp_path / "meta" / "sam2.pt")
    assert len(meta) == sum(name.startswith("model.visual_model.") for name in whole) == 321
    assert "memory_encoder.fuser.layers.0.gamma" in meta and wrapper_of(tmp_path / "meta" / "sam2.pt") == "model"
    gamma = whole["model.visual_model.memory_encoder.fuser.layers.0.weight"].read()
    assert meta["memory_encoder.fuser.layers.0.gamma"].read().tobytes() == gamma.tobytes()
    convert(tmp_path / "orbax", tmp_path / "hf", "safetensors", part="sam2", layout="transformers")
    model, said = transformers.Sam2VideoModel.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not said["missing_keys"] and not said["unexpected_keys"] and not said["mismatched_keys"]
    convert(tmp_path / "hf", tmp_path / "again", "pytorch", layout="meta")
    assert_same(tmp_path / "meta" / "sam2.pt", tmp_path / "again" / "sam2.pt")
    convert(tmp_path / "orbax", tmp_path / "clip", "safetensors", part="clip")
    assert_same(golden / "clip", tmp_path / "clip")
    convert(tmp_path / "orbax", tmp_path / "llm", "safetensors", part="llm")
    model, said = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "llm", output_loading_info=True)
    assert type(model).__name__ == "Phi3ForCausalLM" and not said["missing_keys"] and not said["unexpected_keys"]


def test_what_is_no_checkpoint_is_said(tmp_path, golden):
    torch.save({"weights": torch.zeros(2)}, tmp_path / "other.bin")
    with pytest.raises(CheckpointError, match=r"not a checkpoint that is known here \(its first tensor is weights\)"):
        convert(tmp_path / "other.bin", tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="nowhere: no such checkpoint"):
        convert(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(CheckpointError, match=r"holds model\.image_vision_tower.*which .* holds too; give one of them"):
        shutil.copytree(golden / "clip", tmp_path / "clip")
        convert([golden / "clip", tmp_path / "clip"], tmp_path / "out")
    with pytest.raises(CheckpointError, match="holds no LoRA"):
        convert(golden, tmp_path / "out", "peft")
    assert not (tmp_path / "out").exists()
