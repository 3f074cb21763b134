"""`vglamm parity` passes on the original's golden folder, and a spoiled weight makes the right stage fail."""

import dataclasses
import types

import jax.numpy as jnp
import numpy as np
import pytest

from vglamm_jax.convert import source
from vglamm_jax.infer import parity, parity_case
from vglamm_jax.infer.parity import Stage, StageResult
from vglamm_jax.infer.parity_case import Case, read_golden

PIXELS = ("frames", "seen", "context", "video", "sam2_pixels", "prompt_ids")
TOWERS = (*PIXELS, "clip", "internvideo2", "image_projected", "video_projected", "inputs_embeds")
ANSWER = (*TOWERS, "generation", "seg_states")
FEATURES = (*ANSWER, "pointed", "text", "features", "first_features")
FRAMEWISE = (*FEATURES, "framewise")
# parameter, what its change cannot reach and need not be computed again, the first stage that must disagree
SPOILED = [
    ("clip/blocks/mlp/fc1/kernel", (*PIXELS, "internvideo2", "video_projected"), "CLIP"),
    ("internvideo2/blocks/attn/q_norm/scale", (*PIXELS, "clip", "image_projected"), "InternVideo2"),
    ("mm_projector/fc2/kernel", (*PIXELS, "clip", "internvideo2", "image_projected"), "video projector"),
    ("image_mm_projector/fc1/bias", (*PIXELS, "clip", "internvideo2", "video_projected"), "image projector"),
    ("llm/blocks/self_attn/o_proj/kernel", TOWERS, "hidden states, prompt"),
    ("llm/lm_head/kernel", TOWERS, "token scores"),
    ("text_hidden_fcs/fc1/kernel", ANSWER, "[SEG] prompts"),
    ("sam2/image_encoder/trunk/stages/3/first/proj/kernel", ANSWER, "SAM2 features, stride 16"),
    ("sam2/sam_mask_decoder/transformer/layers/0/self_attn/v_proj/kernel", FEATURES, "framewise logits"),
    (
        "sam2/memory_attention/layers/cross_attn_image/v_proj/kernel",
        (*FEATURES, "framewise"),
        "object pointers, frame 1",
    ),
    # The memory of frame 0 is first seen through what frame 1 makes of it.
    ("sam2/memory_encoder/out_proj/kernel", (*FEATURES, "framewise"), "object pointers, frame 1"),
]


@pytest.fixture(scope="module")
def true(exact_golden):
    model, cfg, tokenizer = source.load(exact_golden)
    return Case(exact_golden, model, cfg, tokenizer)


@pytest.mark.slow
def test_every_stage_agrees_with_the_original(true, quick_tracking):
    """At the tolerances of the golden README, nothing allowed for rounding."""
    found = [parity.compare(stage, true) for stage in parity.STAGES]
    assert [result for result in found if not result.passed] == []


def first_frame(folder):
    said, golden = read_golden(folder)
    return said, golden | {"frames": golden["frames"][:1]}


@pytest.mark.slow
def test_rounded_weights_are_told_from_wrong_ones(golden, monkeypatch):
    """The folder as it is stores some of SAM2 rounded: agreement up to that, said aloud, and not with --strict."""
    pytest.importorskip("torch", reason="the golden checkpoint is a .bin file")
    kept = ("SAM2 pixels, frame 0", "SAM2 features, stride 16", "SAM2 features, stride 4")
    monkeypatch.setattr(parity, "STAGES", [stage for stage in parity.STAGES if stage.name in kept])
    monkeypatch.setattr(parity_case, "read_golden", first_frame)
    found = parity.run(golden)
    assert [result.passed for result in found] == [True] * 3
    assert [result.rounded for result in found] == [False, True, False]
    assert "before its weights were rounded" in parity.verdict(found)
    assert parity.first_failure(parity.run(golden, strict=True)) == kept[1]
    wrong = parity.run(golden, "sam2/image_encoder/trunk/patch_embed/kernel")
    assert parity.first_failure(wrong) == kept[1]


@pytest.mark.slow
@pytest.mark.parametrize("parameter,unreached,expected", SPOILED, ids=[row[0] for row in SPOILED])
def test_a_spoiled_weight_fails_at_its_stage(true, quick_tracking, parameter, unreached, expected):
    case = Case(true.folder, parity.perturbed(true.model, parameter, amount=0.5), true.cfg, true.tokenizer)
    for name in unreached:
        setattr(case, name, getattr(true, name))
    if expected.endswith("frame 1"):  # no later frame is needed
        case.features = true.features[:2]
    names = [stage.name for stage in parity.STAGES]
    found = [parity.compare(stage, case) for stage in parity.STAGES[: names.index(expected) + 1]]
    assert parity.first_failure(found) == expected


def case_with(**golden):
    return types.SimpleNamespace(
        golden=golden, cfg=types.SimpleNamespace(sam2=types.SimpleNamespace(no_object_logit=-1024))
    )


def test_what_a_folder_lacks_is_said():
    result = parity.compare(Stage("x", "absent", lambda c: np.zeros(1)), case_with())
    assert result.passed is None and "absent is not in this golden folder" in result.note
    assert "not in this golden folder" in parity.line(result)


def test_values_are_compared_relative_to_the_largest():
    case = case_with(x=np.array([0.0, -2.0, 10.0, -1024.0]))
    near, far = (Stage("x", "x", lambda c, d=d: np.array([d, -2.0, 10.0, -1024.0])) for d in (5e-4, 2e-3))
    assert parity.compare(near, case).passed and not parity.compare(far, case).passed
    assert parity.compare(far, case).max_rel == pytest.approx(2e-4)
    assert not parity.compare(Stage("x", "x", lambda c: np.zeros(3)), case).passed


def test_ids_must_be_identical():
    case = case_with(x=np.array([[1, 2, 3]]))
    assert parity.compare(Stage("x", "x", lambda c: np.array([[1, 2, 3]]), 0, "ids"), case).passed
    result = parity.compare(Stage("x", "x", lambda c: np.array([[1, 2, 4]]), 0, "ids"), case)
    assert result.passed is False and result.max_abs == 1


def test_masks_are_compared_by_the_worst_object():
    masks = np.zeros((2, 2, 10, 10), bool)
    masks[0, 0, :5] = True
    other = masks.copy()
    other[0, 0, 0, 0] = False
    case = case_with(x=np.packbits(masks), masks_shape=np.array(masks.shape))
    assert parity.compare(Stage("x", "x", lambda c: masks, parity.LOST_IOU, "masks"), case).max_rel == 0
    result = parity.compare(Stage("x", "x", lambda c: other, parity.LOST_IOU, "masks"), case)
    assert not result.passed and result.max_rel == pytest.approx(0.02)


def test_the_first_disagreement_is_named():
    results = [StageResult("a", True), StageResult("b", None), StageResult("c", False), StageResult("d", False)]
    assert parity.first_failure(results) == "c"
    assert parity.first_failure(results[:2]) is None


def test_only_a_parameter_that_exists_is_spoiled(true):
    with pytest.raises(ValueError, match=r"llm/norm/scal .*nearest there: llm/norm/scale"):
        parity.perturbed(true.model, "llm/norm/scal")
    changed = parity.perturbed(true.model, "llm/norm/scale")
    assert not np.array_equal(changed.llm.norm.scale[...], true.model.llm.norm.scale[...])
    np.testing.assert_array_equal(changed.llm.lm_head.kernel[...], true.model.llm.lm_head.kernel[...])


def test_rounding_moves_matrices_of_sam2_by_less_than_a_step(true):
    moved = parity.rounded(true.model)
    np.testing.assert_array_equal(moved.llm.lm_head.kernel[...], true.model.llm.lm_head.kernel[...])
    before = np.asarray(true.model.sam2.memory_attention.layers.linear1.kernel[...])
    change = np.abs(np.asarray(moved.sam2.memory_attention.layers.linear1.kernel[...]) - before)
    assert change.max() > 0 and (change <= np.abs(before) * 2**-8 * 1.001).all()


def test_a_number_that_one_rounding_leaves_alone_is_judged_by_others(monkeypatch):
    """100 in the golden folder: 101 with the stored weights is as far as the third rounding moves it, 110 is not."""
    stage = Stage("grad_norm:x", "x", lambda case: np.array([case.ours]), 1e-3)

    def case(ours):
        return types.SimpleNamespace(**vars(case_with(x=np.array([100.0]))), ours=ours)

    monkeypatch.setattr(parity.Rounding, "moved", lambda self, seed: case((100, 100.01, 100.5)[seed]))
    judge = parity.Rounding(case(100), jnp.bfloat16).judge
    found = [judge(stage, case(ours), parity.compare(stage, case(ours))) for ours in (100, 101, 110)]
    assert [(result.passed, result.rounded) for result in found] == [(True, False), (True, True), (False, False)]


def test_a_folder_without_golden_values_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"not a golden folder; it needs case\.json"):
        read_golden(tmp_path)


def test_tolerances_are_the_golden_readmes():
    for stage in parity.STAGES:
        assert stage.tolerance <= 2**-8 and dataclasses.is_dataclass(stage)
    assert (parity.FEATURES, parity.PROPAGATED, parity.LOST_IOU) == (1e-4, 2e-3, 1e-3)
