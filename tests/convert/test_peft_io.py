"""Adapters without PyTorch: round trips bit for bit, names of every form, and all that is refused."""

import dataclasses
import json

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny_llm import LLAMA, PHI3, factors, lazy

from vglamm_jax.config import LoraConfig
from vglamm_jax.convert import engine, peft_io, tables
from vglamm_jax.convert.lora_merge import merged, state_dict_lora
from vglamm_jax.convert.peft_names import strip_peft, wrap_peft
from vglamm_jax.convert.tables_lora import lora as lora_rows
from vglamm_jax.convert.torch_io import CheckpointError
from vglamm_jax.models import layers
from vglamm_jax.models.llm import CausalLM

LORA = LoraConfig(rank=4, alpha=6, targets=("qkv_proj", "down_proj"), dropout=0.1, rslora=True)
CFG = dataclasses.replace(PHI3, lora=LORA)
QKV = "model.layers.1.self_attn.qkv_proj"


def abstract(cfg):
    return layers.abstract(CausalLM, cfg)


@pytest.fixture
def tensors():
    """The factors of CFG, random bfloat16, under canonical names."""
    rng, base = np.random.default_rng(0), tables.llm(CFG)
    shapes = engine.abstract_checkpoint(abstract(CFG), [*base, *lora_rows(CFG)], {})
    return {
        name: lazy(rng.normal(size=shape).astype(ml_dtypes.bfloat16))
        for name, shape in shapes.items()
        if ".lora_" in name
    }


@pytest.fixture
def folder(tensors, tmp_path):
    peft_io.write_adapter(tmp_path, LORA, tensors, "base")
    return tmp_path


def change(folder, **values):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def save(folder, tensors):
    (folder / "adapter_model.safetensors").unlink(missing_ok=True)
    save_file({wrap_peft(k): v.read() for k, v in tensors.items()}, folder / "adapter_model.safetensors")


def test_rows_cover_a_model_with_lora(tensors):
    cfg = dataclasses.replace(LLAMA, lora=dataclasses.replace(LORA, targets=("k_proj", "gate_proj", "o_proj")))
    shapes = engine.abstract_checkpoint(abstract(cfg), [*tables.llm(cfg), *lora_rows(cfg)], {})
    assert shapes["model.layers.1.self_attn.k_proj.lora_A.weight"] == (4, 32)
    assert shapes["model.layers.1.self_attn.k_proj.lora_B.weight"] == (16, 4)
    assert shapes["model.layers.0.mlp.gate_proj.lora_B.weight"] == (40, 4)
    assert len(tensors) == 8 and lora_rows(LLAMA) == []
    assert set(shapes) - set(engine.abstract_checkpoint(abstract(LLAMA), tables.llm(LLAMA), {})) == {
        key for row in lora_rows(cfg) for key in row.names()
    }
    with pytest.raises(CheckpointError, match=r"parameters without a row \(6\)"):
        engine.slots(tables.llm(cfg), engine.leaves(abstract(cfg)))


def test_round_trip_through_the_model_is_bit_exact(folder, tensors, tmp_path):
    found, read = peft_io.read_adapter(folder, CFG)
    assert found == LORA
    base = engine.abstract_checkpoint(abstract(PHI3), tables.llm(PHI3), {})
    zeros = {name: lazy(np.zeros(shape, np.float32)) for name, shape in base.items()}
    part = engine.Part([*tables.llm(CFG), *lora_rows(CFG)], zeros | read)
    model = engine.fill(abstract(CFG), part, dtype=ml_dtypes.bfloat16)
    peft_io.write_adapter(tmp_path / "again", found, factors(model), "base")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    assert {name: tensor.read().tobytes() for name, tensor in read.items()} == {
        name: tensor.read().tobytes() for name, tensor in tensors.items()
    }


def test_merge_is_lazy_and_exact(tensors):
    rng = np.random.default_rng(1)
    base = {f"{QKV[:-10]}o_proj.weight": lazy(np.ones((32, 32), np.float32))}
    pair = {name: tensor for name, tensor in tensors.items() if name.startswith(QKV)}
    weight = rng.normal(size=(64, 32)).astype(ml_dtypes.bfloat16)
    reads = []
    counted = dataclasses.replace(lazy(weight), read=lambda: reads.append(1) or weight)
    whole = merged({**base, f"{QKV}.weight": counted, **pair}, LORA)
    assert set(whole) == {*base, f"{QKV}.weight"} and not reads
    a, b = (pair[f"{QKV}.lora_{side}.weight"].read().astype(np.float64) for side in "AB")
    exact = weight + 3 * b @ a  # rslora: 6 / sqrt(4)
    new = whole[f"{QKV}.weight"]
    assert new.shape == (64, 32) and new.dtype == new.read().dtype == ml_dtypes.bfloat16
    step = 2.0 ** (np.floor(np.log2(np.abs(exact))) - 7)
    assert (np.abs(np.float64(new.read()) - exact) <= 0.5001 * step).all()


def test_merge_names_what_does_not_fit(tensors):
    base = {f"model.layers.0.{name}.weight": lazy(np.zeros((64, 32))) for name in ("self_attn.qkv_proj", "mlp.up")}
    del tensors[f"{QKV}.lora_A.weight"]
    with pytest.raises(CheckpointError) as caught:
        merged(base | tensors, LORA)
    message = str(caught.value)
    assert f"missing (3): {QKV}.lora_A.weight, model.layers.0.mlp.down_proj.weight" in message
    with pytest.raises(CheckpointError, match=r"rank 5 .*\n  other shape \(2\).* is \[4, 32\], should be \[5, 32"):
        merged({k: t for k, t in (base | tensors).items() if "layers.0.self" in k}, dataclasses.replace(LORA, rank=5))


def test_names_of_every_form_come_to_the_same():
    one = lazy(np.zeros((2, 2), np.float32))
    forms = {
        "base_model.model.model.layers.0.mlp.down_proj.lora_A.weight": "model.layers.0.mlp.down_proj.lora_A.weight",
        "base_model.model.model.layers.0.mlp.o.lora_B.default.weight": "model.layers.0.mlp.o.lora_B.weight",
        "base_model.model.model.layers.0.mlp.o.base_layer.weight": "model.layers.0.mlp.o.weight",
        "base_model.model.model.layers.0.mlp.up_proj.weight": "model.layers.0.mlp.up_proj.weight",
        "base_model.model.model.mm_projector.0.bias": "model.mm_projector.0.bias",
        "base_model.model.model.visual_model.no_mem_embed": "model.visual_model.no_mem_embed",
        "base_model.model.model.fcs.modules_to_save.default.0.2.weight": "model.fcs.0.2.weight",
        "base_model.model.model.fcs.original_module.0.2.weight": None,
        "base_model.model.lm_head.weight": "lm_head.weight",
    }
    found = strip_peft(dict.fromkeys(forms, one))
    assert list(found) == [name for name in forms.values() if name]
    assert strip_peft(found) == found
    assert list(strip_peft({"base_model.model.mm_projector.0.bias": one})) == ["model.mm_projector.0.bias"]
    assert list(strip_peft({"base_model.model.lm_head.weight": one})) == ["lm_head.weight"]


def test_a_saved_state_dict_is_an_adapter_too(folder, tensors):
    """People save `model.state_dict()` beside a config: names then say which adapter."""
    save(folder, {name.replace(".weight", ".mine.weight"): tensor for name, tensor in tensors.items()})
    found, read = peft_io.read_adapter(folder, CFG)
    assert found == LORA and set(read) == set(tensors)
    save(folder, {name.replace(".weight", f".{n % 2}.weight"): tensors[name] for n, name in enumerate(tensors)})
    with pytest.raises(CheckpointError, match=r"adapter_model\.safetensors: holds several adapters \(0, 1\)"):
        peft_io.read_adapter(folder, CFG)


def test_ambiguous_names_are_refused():
    prefix, one = "base_model.model.model.layers.0.mlp.up_proj", lazy(np.zeros(2))
    with pytest.raises(CheckpointError, match=r"several adapters \(first, second\)"):
        strip_peft({f"{prefix}.lora_A.{name}.weight": one for name in ("first", "second")})
    with pytest.raises(CheckpointError, match=r"base_layer\.weight and .*up_proj\.weight are the same tensor"):
        strip_peft({f"{prefix}.base_layer.weight": one, f"{prefix}.weight": one})


def test_state_dict_states_no_alpha(tensors):
    assert state_dict_lora({"lm_head.weight": lazy(np.zeros(2))}) is None
    with pytest.raises(CheckpointError, match="does not state LoRA's alpha; say which one this rank 4 had"):
        state_dict_lora(tensors, PHI3)
    found = state_dict_lora(tensors, PHI3, alpha=3)
    assert (found.rank, found.alpha, found.targets, found.dropout) == (4, 3, LORA.targets, 0.05)
    del tensors[f"{QKV}.lora_A.weight"]
    with pytest.raises(CheckpointError, match=rf"missing \(1\): {QKV}\.lora_A\.weight"):
        state_dict_lora(tensors, alpha=3)


REFUSED = [
    ({"rank_pattern": {"q_proj": 2}}, r"rank_pattern=.*ranks that differ"),
    ({"alpha_pattern": {"q_proj": 2}}, r"alpha_pattern=.*alphas that differ"),
    ({"use_dora": True}, "DoRA"),
    ({"layers_to_transform": 0}, "layers_to_transform=0: only some of the layers"),
    ({"layers_to_transform": [0, 1]}, "only some of the layers"),
    ({"bias": "lora_only"}, "bias='lora_only'"),
    ({"lora_bias": True}, "a bias beside B"),
    ({"modules_to_save": ["lm_head", "score"]}, r"modules_to_save=\['score'\]"),
    ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa': it changes the base model"),
    ({"peft_type": "LOHA"}, "peft_type is 'LOHA'"),
    ({"r": None}, "r is None, should be a number above 0"),
    ({"lora_dropout": 1.0}, "lora_dropout is 1.0"),
    ({"lora_alpha": "16"}, "lora_alpha is '16'"),
    ({"trainable_token_indices": [3]}, "single rows"),
    ({"use_qalora": True}, "use_qalora=True: not known here"),
]


@pytest.mark.parametrize(("values", "message"), REFUSED, ids=[next(iter(values)) for values, _ in REFUSED])
def test_settings_that_cannot_be_had(folder, values, message):
    change(folder, **values)
    with pytest.raises(CheckpointError, match=rf"merge it with PEFT.*\n  adapter_config.json: .*{message}"):
        peft_io.read_adapter(folder, CFG)


def test_settings_without_a_part_in_the_result_are_accepted(folder):
    change(folder, exclude_modules="x", target_modules=r".*_proj", init_lora_weights="gaussian", peft_version="9")
    assert peft_io.read_adapter(folder, CFG)[0] == LORA


def test_every_problem_is_in_one_message(folder, tensors):
    change(folder, use_dora=True, target_modules=["qkv_proj", "o_proj"])
    del tensors[f"{QKV}.lora_A.weight"]
    tensors["model.layers.0.self_attn.qkv_proj.lora_B.weight"] = lazy(np.zeros((48, 4), np.float32))
    tensors[f"{QKV}.lora_magnitude_vector.weight"] = lazy(np.zeros(4, np.float32))
    save(folder, tensors)
    with pytest.raises(CheckpointError) as caught:
        peft_io.read_adapter(folder, CFG)
    message = str(caught.value)
    assert message.startswith(f"{folder}: this adapter cannot be used")
    assert "use_dora=True" in message
    assert "missing (5): " in message and "model.layers.0.self_attn.o_proj.lora_A.weight" in message
    assert f"{QKV}.lora_A.weight (nearest there: {QKV}.lora_magnitude_vector.weight)" in message
    assert f"unexpected (1): {QKV}.lora_magnitude_vector.weight" in message
    assert "qkv_proj.lora_B.weight is [48, 4], should be [64, 4]" in message


@pytest.mark.parametrize("llm", [None, CFG])
def test_layers_that_lack_an_adapter_are_missing(folder, tensors, llm):
    save(folder, {k: t for k, t in tensors.items() if "layers.1.mlp" not in k})
    with pytest.raises(CheckpointError, match=r"missing \(2\): model\.layers\.1\.mlp\.down_proj\.lora_A\.weight"):
        peft_io.read_adapter(folder, llm)


def test_shards_that_were_never_gathered(folder, tensors):
    """What DeepSpeed ZeRO-3 leaves: tensors of no elements."""
    save(folder, dict.fromkeys(tensors, lazy(np.zeros(0, np.float32))))
    for llm in (None, CFG):
        with pytest.raises(CheckpointError, match=r"other shape \(8\).* is \[0\], should be \[4, "):
            peft_io.read_adapter(folder, llm)


def test_an_adapter_of_another_model(folder):
    with pytest.raises(CheckpointError, match=r"unexpected \(4\).*qkv_proj\.lora_A"):
        peft_io.read_adapter(folder, LLAMA)
    with pytest.raises(CheckpointError, match=r"missing \(4\): model\.layers\.2\."):
        peft_io.read_adapter(folder, dataclasses.replace(PHI3, depth=3))


def test_files_that_are_not_there(folder, tensors):
    save(folder, {"lm_head.weight": lazy(np.zeros((100, 32), np.float32))})
    with pytest.raises(CheckpointError, match="holds no factors"):
        peft_io.read_adapter(folder)
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"adapter_config\.json and adapter_model\.safetensors or"):
        peft_io.read_adapter(folder)


def test_half_an_adapter_is_not_written(tensors, tmp_path):
    del tensors[f"{QKV}.lora_A.weight"]
    with pytest.raises(CheckpointError, match=rf"not a whole adapter:\s+missing \(1\): {QKV}\.lora_A\.weight"):
        peft_io.write_adapter(tmp_path / "out", LORA, tensors, "base")
    whole = {k: t for k, t in tensors.items() if "down_proj" in k}
    with pytest.raises(CheckpointError, match=r"said to adapt \['down_proj', 'qkv_proj'\]"):
        peft_io.write_adapter(tmp_path / "out", LORA, whole, "base")
    assert not (tmp_path / "out").exists()
