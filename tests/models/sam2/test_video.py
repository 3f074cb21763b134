"""Two objects followed through nine frames, against transformers' Sam2VideoModel, for SAM2 and SAM2.1."""

import functools

import jax
import numpy as np
import pytest
from conftest import THOROUGH
from sam2_reference import PADDED, make_config, relative

from vglamm_jax.models.sam2.prompt_encoder import Prompts

torch = pytest.importorskip("torch", reason="compares with transformers' PyTorch model")

FRAMES = 9
# Fewer slots than frames, so that maps and pointers fall out of memory within the nine.
SMALL_MEMORY = {"num_memories": 4, "num_pointers": 6}


@functools.cache
def config(newer: bool):
    return make_config(PADDED, 128, newer, **SMALL_MEMORY)


encode = jax.jit(lambda m, x: m.encode(x))
start = jax.jit(lambda m, f, p: m.start(f, p, frames=FRAMES))
track = jax.jit(lambda m, b, f, first: m.track(b, f, first), compiler_options=THOROUGH)


def session_of(model, images):
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

    video = torch.tensor(images).permute(0, 3, 1, 2)
    side = images.shape[1]
    return Sam2VideoInferenceSession(video=video, video_height=side, video_width=side, dtype=torch.float32)


def their_masks(model, images, inputs: list[dict]):
    """Logits [T, K, 4g, 4g] and scores [T, K] with `inputs[k]` for object k on frame 0."""
    session = session_of(model, images)
    for k, given in enumerate(inputs):
        index = session.obj_id_to_idx(k + 1)
        if "mask" in given:
            session.add_mask_inputs(index, 0, given["mask"])
        else:
            session.add_point_inputs(index, 0, given)
        session.obj_with_new_inputs.append(k + 1)
    with torch.no_grad():
        steps = [model(session, frame_idx=frame) for frame in range(FRAMES)]
    logits = np.stack([step.pred_masks[:, 0].numpy() for step in steps])
    return logits, np.stack([step.object_score_logits[:, 0].numpy() for step in steps])


def our_masks(model, images, prompts: Prompts):
    features = encode(model, images)
    first, bank = start(model, jax.tree.map(lambda x: x[:1], features), prompts)
    rest, _ = track(model, bank, jax.tree.map(lambda x: x[1:], features), 1)
    join = lambda name: np.concatenate([getattr(first, name)[None], getattr(rest, name)])  # noqa: E731
    return join("logits"), join("object_score")


def agree(ours, theirs):
    logits, scores = ours
    assert relative(scores, theirs[1]) < 1e-3
    gone = theirs[1] <= 0
    for frame in range(FRAMES):
        assert relative(logits[frame], theirs[0][frame]) < 2e-3, frame
    return gone


@pytest.mark.parametrize(
    ("kind", "newer"), [("click", False), ("box", False), ("mask", False), ("clicks", True), ("mask", True)]
)
def test_propagation(build, frames, kind, newer):
    cfg = config(newer)
    theirs, ours = build(cfg)
    images = frames(FRAMES, cfg.image_size)
    points = np.float32([[[30, 40], [70, 90]], [[90, 20], [100, 110]]])
    labels = np.int32([[1, 0], [1, 1]])
    if kind == "click":
        points, labels = points[:, :1], labels[:, :1]
    if kind == "box":
        labels = np.int32([[2, 3], [2, 3]])
    prompts = Prompts(points=points, labels=labels)
    inputs = [
        {"point_coords": torch.tensor(p)[None, None], "point_labels": torch.tensor(n)[None, None]}
        for p, n in zip(points, labels, strict=True)
    ]
    if kind == "box":
        prompts = Prompts(boxes=points.reshape(2, 4))
    if kind == "mask":
        masks = np.zeros((2, cfg.image_size, cfg.image_size), np.float32)
        masks[0, 20:60, 30:90], masks[1, 70:100, 10:50] = 1, 1
        prompts = Prompts(masks=masks)
        inputs = [{"mask": torch.tensor(mask)[None, None]} for mask in masks]
        # The original takes the pointer of a given mask from the single mask's token (facts 1.9); transformers
        # decodes multi-masks there because that is its default.
        theirs._single_frame_forward = functools.partial(
            type(theirs)._single_frame_forward, theirs, multimask_output=False
        )
    try:
        want = their_masks(theirs, images, inputs)
    finally:
        vars(theirs).pop("_single_frame_forward", None)
    agree(our_masks(ours, images, prompts), want)


@pytest.mark.parametrize("newer", [False, True], ids=["sam2", "sam2.1"])
def test_an_object_that_disappears(build, frames, newer):
    """The score head is biased so that about half of the frames have no object."""
    cfg = config(newer)
    theirs, ours = build(cfg)
    images = frames(FRAMES, cfg.image_size)
    points, labels = np.float32([[[30, 40]], [[90, 20]]]), np.int32([[1], [1]])
    prompts = Prompts(points=points, labels=labels)
    _, scores = our_masks(ours, images, prompts)
    shift = -float(np.median(scores))
    head = ours.sam_mask_decoder.pred_obj_score_head.layers[2]
    their_head = theirs.mask_decoder.pred_obj_score_head.proj_out
    before = head.bias[...]
    inputs = [
        {"point_coords": torch.tensor(p)[None, None], "point_labels": torch.tensor(n)[None, None]}
        for p, n in zip(points, labels, strict=True)
    ]
    try:
        head.bias[...] = before + shift
        their_head.bias.data += shift
        want = their_masks(theirs, images, inputs)
        got = our_masks(ours, images, prompts)
    finally:
        head.bias[...] = before
        their_head.bias.data -= shift
    gone = agree(got, want)
    assert 0 < gone.sum() < gone.size
    assert (got[0][gone] == cfg.no_object_logit).all()
