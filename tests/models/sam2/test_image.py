"""Image encoder, prompt encoder and mask decoder against transformers' Sam2Model."""

import jax
import numpy as np
import pytest
from sam2_reference import DIVIDED, PADDED, make_config, relative

from vglamm_jax.models.layers import unstack_all
from vglamm_jax.models.sam2.prompt_encoder import Prompts

torch = pytest.importorskip("torch", reason="compares with transformers' PyTorch model")

SIZES = {"padded": make_config(PADDED, 128), "divided": make_config(DIVIDED, 64), "odd": make_config(PADDED, 160)}


def torch_images(images):
    return torch.tensor(images).permute(0, 3, 1, 2)


@pytest.mark.parametrize("size", SIZES)
def test_features(build_image, frames, size):
    cfg = SIZES[size]
    theirs, ours = build_image(cfg)
    images = frames(2, cfg.image_size)
    with torch.no_grad():
        fine, middle, coarse = theirs.get_image_embeddings(torch_images(images))
    features = jax.jit(lambda m, x: m.encode(x))(ours, images)
    for a, b in zip(features.high_res, (fine, middle), strict=True):
        assert relative(np.moveaxis(a, -1, 1), b) < 1e-4
    embed = features.embed + ours.no_mem_embed[0, 0]
    assert relative(np.moveaxis(embed, -1, 1), coarse) < 1e-4


def prompts_of(kind: str, cfg, rng) -> dict:
    """Arguments of Sam2Model for 2 images with 3 objects each, as numpy."""
    side = cfg.image_size
    points = rng.uniform(0, side, (2, 3, 2, 2)).astype(np.float32)
    corners = np.sort(rng.uniform(0, side, (2, 3, 2, 2)), axis=2).reshape(2, 3, 4).astype(np.float32)
    given = {
        "points": {"input_points": points, "input_labels": rng.integers(0, 2, (2, 3, 2)).astype(np.int32)},
        "ignored": {"input_points": points, "input_labels": np.tile(np.int32([1, -1]), (2, 3, 1))},
        "boxes": {"input_boxes": corners},
    }
    given["both"] = {**given["points"], **given["boxes"]}
    return given[kind]


def as_prompts(given: dict) -> Prompts:
    return Prompts(points=given.get("input_points"), labels=given.get("input_labels"), boxes=given.get("input_boxes"))


@pytest.mark.parametrize("kind", ["points", "ignored", "boxes", "both"])
def test_points_and_boxes(build_image, frames, kind):
    cfg = SIZES["padded"]
    theirs, ours = build_image(cfg)
    images = frames(2, cfg.image_size)
    given = prompts_of(kind, cfg, np.random.default_rng(1))
    masks = jax.jit(lambda m, x, p: m.predict(m.encode(x), p))(ours, images, as_prompts(given))
    stable = masks.stable(cfg.stability_delta, cfg.stability_threshold)
    for candidates, multimask in ((masks.multi(), True), (stable, False)):
        tensors = {name: torch.tensor(value) for name, value in given.items()}
        with torch.no_grad():
            out = theirs(pixel_values=torch_images(images), multimask_output=multimask, **tensors)
        assert relative(candidates.logits, out.pred_masks) < 1e-4
        assert relative(candidates.iou, out.iou_scores) < 1e-4
        assert relative(candidates.object_score, out.object_score_logits[..., 0]) < 1e-4


def test_mask_prompt(build_image, frames):
    cfg = SIZES["padded"]
    theirs, ours = build_image(cfg)
    images = frames(2, cfg.image_size)
    side = 4 * cfg.grid
    masks = np.random.default_rng(2).normal(0, 4, (2, 1, side, side)).astype(np.float32)
    points = np.full((2, 1, 1, 2), 40, np.float32)
    labels = np.ones((2, 1, 1), np.int32)
    with torch.no_grad():
        out = theirs(
            pixel_values=torch_images(images),
            input_points=torch.tensor(points),
            input_labels=torch.tensor(labels),
            input_masks=torch.tensor(masks),
        )
    prompts = Prompts(points=points, labels=labels, masks=masks)
    ours = jax.jit(lambda m, x, p: m.predict(m.encode(x), p))(ours, images, prompts)
    assert relative(ours.multi().logits, out.pred_masks) < 1e-4


def test_stability_fallback_happens_and_can_be_left_out(build_image, frames):
    cfg = SIZES["padded"]
    _, ours = build_image(cfg)
    features = jax.jit(lambda m, x: m.encode(x))(ours, frames(1, cfg.image_size))
    text = np.random.default_rng(3).normal(0, 1, (4, cfg.width)).astype(np.float32)
    chosen = ours.framewise(features, text)
    single = ours.framewise(features, text, multimask_fallback=False)
    candidates = ours.predict(features, Prompts(text=text[None, :, None]))
    np.testing.assert_allclose(single.logits, candidates.logits[:, :, 0], rtol=1e-6)
    best = candidates.multi().best().logits[:, :, 0]
    inside = (single.logits > cfg.stability_delta).sum((-2, -1))
    stable = inside / (single.logits > -cfg.stability_delta).sum((-2, -1)) >= cfg.stability_threshold
    np.testing.assert_array_equal(chosen.logits, np.where(stable[..., None, None], single.logits, best))
    assert not stable.all()


def test_text_is_one_more_token_and_may_differ_by_frame(build_image, frames):
    cfg = SIZES["padded"]
    _, ours = build_image(cfg)
    features = jax.jit(lambda m, x: m.encode(x))(ours, frames(2, cfg.image_size))
    text = np.random.default_rng(4).normal(0, 1, (3, cfg.width)).astype(np.float32)
    same = ours.framewise(features, text)
    np.testing.assert_allclose(ours.framewise(features, np.stack([text, text])).logits, same.logits, rtol=1e-5)
    swapped = ours.framewise(features, np.stack([text, text[::-1]])).logits
    np.testing.assert_allclose(swapped[1], same.logits[1, ::-1], atol=1e-4)
    tokens, _ = ours.sam_prompt_encoder(
        Prompts(text=text[:, None], points=np.zeros((3, 1, 2)), labels=-np.ones((3, 1), int))
    )
    assert tokens.shape == (3, 3, cfg.width)
    np.testing.assert_array_equal(tokens[:, 2], text)


def test_no_prompt_is_refused(build_image):
    _, ours = build_image(SIZES["padded"])
    with pytest.raises(ValueError, match="give text, points or boxes"):
        ours.sam_prompt_encoder(Prompts())


def test_unstacked_is_the_same(build_image, frames):
    cfg = SIZES["padded"]
    _, ours = build_image(cfg)
    images = frames(1, cfg.image_size)
    encode = jax.jit(lambda m, x: m.encode(x).embed)
    want = encode(ours, images)
    structure = jax.tree.structure(ours)
    copy = unstack_all(jax.tree.unflatten(structure, jax.tree.leaves(ours)))
    np.testing.assert_allclose(encode(copy, images), want, atol=1e-5)
    assert len(jax.tree.leaves(copy)) > len(jax.tree.leaves(ours))


def test_image_side_must_fit_the_strides():
    with pytest.raises(ValueError, match="make it a multiple of 32"):
        jax.eval_shape(lambda: make_sam2(make_config(image_size=100)))


def make_sam2(cfg):
    from flax import nnx

    from vglamm_jax.models.sam2.tracker import Sam2

    return Sam2(cfg, nnx.Rngs(0))
