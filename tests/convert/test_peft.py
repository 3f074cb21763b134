"""LoRA between here and PEFT: same logits both ways, bit-exact factors, merged equal to un-merged."""

import copy
import dataclasses
import json

import jax
import numpy as np
import pytest
from tiny_llm import LLAMA, PHI3, factors, filled, lazy_state, logits, torch_llm, torch_logits

from vglamm_jax.config import LoraConfig
from vglamm_jax.convert import engine, peft_io, tables
from vglamm_jax.convert.lora_merge import merged, state_dict_lora
from vglamm_jax.convert.peft_names import strip_peft
from vglamm_jax.convert.torch_io import open_tensors
from vglamm_jax.models import lora

torch = pytest.importorskip("torch", reason="PEFT runs in PyTorch: pip install -e .[torch]")
peft = pytest.importorskip("peft", reason="the reference of the format: pip install peft")

IDS = np.random.default_rng(0).integers(0, LLAMA.vocab, (2, 12))
LORAS = {
    "phi3": LoraConfig(rank=8, alpha=16, targets=("qkv_proj", "o_proj", "gate_up_proj", "down_proj"), dropout=0.05),
    "llama": LoraConfig(rank=3, alpha=12, targets=("q_proj", "v_proj", "up_proj"), rslora=True),
}
SIZES = {"phi3": PHI3, "llama": LLAMA}


@dataclasses.dataclass
class Case:
    cfg: object  # with LoRA
    base: object  # PyTorch model without it
    adapted: object  # PEFT model, random factors
    folder: object  # of its adapter


def adapt(base, cfg: LoraConfig, **more):
    """PEFT's model on a copy of `base`, every factor random."""
    settings = peft.LoraConfig(
        r=cfg.rank, lora_alpha=cfg.alpha, lora_dropout=cfg.dropout, use_rslora=cfg.rslora,
        target_modules=list(cfg.targets), task_type="CAUSAL_LM", **more,
    )  # fmt: skip
    model = peft.get_peft_model(copy.deepcopy(base), settings).eval()
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.fixture(scope="module", params=list(SIZES))
def case(request, tmp_path_factory):
    base, cfg = torch_llm(SIZES[request.param]), LORAS[request.param]
    adapted, folder = adapt(base, cfg), tmp_path_factory.mktemp(request.param)
    adapted.save_pretrained(folder)
    return Case(dataclasses.replace(SIZES[request.param], lora=cfg), base, adapted, folder)


def ours(case):
    """The un-merged model here, from the base's tensors and PEFT's folder."""
    return filled(case.cfg, lazy_state(case.base) | peft_io.read_adapter(case.folder, case.cfg)[1])


def assert_near(a, b):
    np.testing.assert_allclose(a, b, atol=2e-5 * np.abs(b).max())


def test_adapter_of_peft_gives_the_logits_of_peft(case):
    theirs = torch_logits(case.adapted, IDS)
    assert np.abs(theirs - torch_logits(case.base, IDS)).max() > 0.1 * np.abs(theirs).max()
    found, tensors = peft_io.read_adapter(case.folder, case.cfg)
    assert found == case.cfg.lora
    assert peft_io.read_adapter(case.folder)[0] == found
    assert_near(logits(ours(case), IDS), theirs)
    plain = dataclasses.replace(case.cfg, lora=None)
    assert_near(logits(filled(plain, merged(lazy_state(case.base) | tensors, found)), IDS), theirs)


def test_export_loads_in_peft_with_the_same_logits_and_bits(case, tmp_path):
    model = ours(case)
    peft_io.write_adapter(tmp_path, case.cfg.lora, factors(model), "base/model")
    loaded = peft.PeftModel.from_pretrained(copy.deepcopy(case.base), tmp_path).eval()
    assert_near(torch_logits(loaded, IDS), logits(model, IDS))
    made, theirs = (open_tensors(folder / "adapter_model.safetensors") for folder in (tmp_path, case.folder))
    assert set(made) == set(theirs)
    for name, tensor in theirs.items():
        assert made[name].read().tobytes() == tensor.read().tobytes()
    written, real = (json.loads((folder / "adapter_config.json").read_text()) for folder in (tmp_path, case.folder))
    assert written.pop("base_model_name_or_path") == "base/model"
    for name, value in written.items():
        assert sorted(value) == sorted(real[name]) if name == "target_modules" else value == real[name], name


def test_merged_export_gives_the_same_logits_in_transformers(case):
    model = ours(case)
    plain = dataclasses.replace(case.cfg, lora=None)
    state = {name: torch.tensor(v) for name, v in engine.to_torch(lora.merge(model), tables.llm(plain))}
    exported = copy.deepcopy(case.base)
    exported.load_state_dict(state)
    assert_near(torch_logits(exported, IDS), logits(model, IDS))


def test_whole_modules_come_as_plain_tensors(tmp_path):
    """`modules_to_save`: what PEFT writes, and what is written here, replace the base's tables."""
    cfg = dataclasses.replace(LLAMA, lora=LORAS["llama"])
    base = torch_llm(cfg)
    adapted = adapt(base, cfg.lora, modules_to_save=["embed_tokens", "lm_head"])
    adapted.save_pretrained(tmp_path / "theirs")
    _, tensors = peft_io.read_adapter(tmp_path / "theirs", cfg)
    assert {"model.embed_tokens.weight", "lm_head.weight"} < set(tensors)
    theirs = torch_logits(adapted, IDS)
    assert_near(logits(filled(cfg, lazy_state(base) | tensors), IDS), theirs)
    peft_io.write_adapter(tmp_path / "ours", cfg.lora, tensors, "base")
    assert_near(torch_logits(peft.PeftModel.from_pretrained(base, tmp_path / "ours").eval(), IDS), theirs)
    state = strip_peft(lazy_state(adapted))
    assert state.keys() == (lazy_state(torch_llm(cfg)) | tensors).keys()
    np.testing.assert_array_equal(state["lm_head.weight"].read(), tensors["lm_head.weight"].read())


@pytest.mark.parametrize("older", [False, True])
def test_training_state_of_the_original(tmp_path, older):
    """Rank 8 on qkv_proj as the original trains it; an older PEFT had no `base_layer` in its names (facts 2.7)."""
    original = LoraConfig(rank=8, alpha=16, targets=PHI3.lora_targets("q_proj,v_proj"), dropout=0.05)
    base = torch_llm(PHI3)
    adapted = adapt(base, original)
    state = {name.replace(".base_layer", "") if older else name: v for name, v in adapted.state_dict().items()}
    torch.save(state, tmp_path / "pytorch_model.bin")
    tensors = strip_peft(open_tensors(tmp_path))
    with pytest.warns(UserWarning, match="alpha is not stored, taking the original's 16"):
        found = state_dict_lora(tensors, PHI3)
    assert found == original == state_dict_lora(tensors, alpha=16)
    whole = merged(tensors, found)
    assert set(whole) == set(base.state_dict())
    assert_near(logits(filled(PHI3, whole), IDS), torch_logits(adapted, IDS))
    assert_near(logits(filled(dataclasses.replace(PHI3, lora=found), tensors), IDS), torch_logits(adapted, IDS))


def test_release_of_videogpt(tmp_path):
    cfg = LORAS["phi3"]
    adapted = adapt(torch_llm(PHI3), cfg)
    factors = {k.replace(".default", ""): v for k, v in adapted.state_dict().items() if ".lora_" in k}
    torch.save(factors, tmp_path / "adapter_model.bin")
    adapted.peft_config["default"].save_pretrained(tmp_path)
    names = [f"{p}mm_projector.{n}.{leaf}" for p in ("", "image_") for n in (0, 2) for leaf in ("weight", "bias")]
    projectors = {f"base_model.model.model.{name}": torch.randn(3, 3) for name in names}
    torch.save(projectors, tmp_path / "non_lora_trainables.bin")
    found, tensors = peft_io.read_videogpt(tmp_path, PHI3)
    assert found == cfg
    assert set(tensors) == {f"model.{name}" for name in names} | {k.removeprefix("base_model.model.") for k in factors}
    for name in names:
        np.testing.assert_array_equal(tensors[f"model.{name}"].read(), projectors[f"base_model.model.model.{name}"])
    del projectors["base_model.model.model.image_mm_projector.2.bias"]
    torch.save(projectors, tmp_path / "non_lora_trainables.bin")
    with pytest.raises(ValueError, match=r"missing \(1\): model\.image_mm_projector\.2\.bias"):
        peft_io.read_videogpt(tmp_path, PHI3)
    (tmp_path / "non_lora_trainables.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"no non_lora_trainables\.bin"):
        peft_io.read_videogpt(tmp_path, PHI3)


def test_streaming_and_in_memory_merges_agree(case):
    """Both are W + scale * B A in float32; only the order of float32 additions may differ."""
    model = lora.merge(ours(case))
    tensors = lazy_state(case.base) | peft_io.read_adapter(case.folder, case.cfg)[1]
    plain = dataclasses.replace(case.cfg, lora=None)
    streamed = filled(plain, merged(tensors, case.cfg.lora))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), model, streamed)
