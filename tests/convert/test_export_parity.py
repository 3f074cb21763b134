"""Exported folders in PyTorch: a model with weights of ours, written, loaded by transformers, says what JAX says."""

import dataclasses
import functools

import golden_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import CLIP, LLAMA, PHI3, filled, image, values
from sam2_reference import random_model, relative

from vglamm_jax.convert import engine, hf_settings, sam2_settings, tables, torch_write
from vglamm_jax.convert.tables_hf_sam2 import hf_sam2
from vglamm_jax.convert.torch_io import LazyTensor
from vglamm_jax.models.clip import ClipVision
from vglamm_jax.models.llm import CausalLM
from vglamm_jax.models.sam2.prompt_encoder import Prompts

torch = pytest.importorskip("torch", reason="the exported folder is loaded in PyTorch")
transformers = pytest.importorskip("transformers")

LLMS = {
    "phi3": PHI3,
    "llama": LLAMA,
    "tied": dataclasses.replace(LLAMA, tie_embeddings=True),
    "mistral": dataclasses.replace(LLAMA, rope_scaling=None, window=8),
}
FRAMES = 3
POINTS, LABELS = np.float32([[[15, 20], [35, 45]], [[45, 10], [50, 55]]]), np.int32([[1, 0], [1, 1]])
# Compiling takes far longer than these models run.
OPTIONS = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
quick = functools.partial(jax.jit, compiler_options=OPTIONS)


def trained(module, seed=0):
    """The module after something like training: every parameter is a little off."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: x + jnp.asarray(rng.normal(0, 0.02, x.shape), x.dtype), module)


def lazy(tensors):
    return {name: LazyTensor(v.shape, v.dtype, lambda v=v: v, "memory") for name, v in tensors}


def loaded(kind, folder, **settings):
    """The model that transformers makes of a folder, having found a tensor for every name and no other."""
    model, report = kind.from_pretrained(folder, output_loading_info=True, dtype=torch.float32, **settings)
    assert not any(report.values()), report
    return model.eval()


@pytest.mark.parametrize("name", LLMS)
def test_language_model(name, tmp_path):
    cfg = LLMS[name]
    ours = trained(filled(CausalLM, cfg, tables.llm(cfg)))
    tensors = lazy(engine.to_torch(ours, tables.llm(cfg)))
    write = torch_write.write_bin if name == "phi3" else torch_write.write_safetensors
    assert len(write(tmp_path, tensors, shard_bytes=20000)) > 2
    hf_settings.write(tmp_path, hf_settings.llm_files(cfg))
    # This version of transformers counts the query itself among the window's keys, as ours and unlike the original.
    window = {} if cfg.window is None else {"sliding_window": cfg.window}
    theirs = loaded(transformers.AutoModelForCausalLM, tmp_path, **window)
    ids = np.random.default_rng(1).integers(0, cfg.vocab, (2, 24))
    with torch.no_grad():
        expected = theirs(torch.tensor(ids)).logits
    logits = quick(lambda llm, ids: llm.logits(llm(llm.embed(ids), jnp.arange(24)[None])[0]))(ours, ids)
    assert relative(logits[..., : cfg.vocab], expected) < 1e-5


def test_clip(tmp_path):
    ours = trained(filled(ClipVision, CLIP, tables.clip(CLIP)))
    unused = [(name, values(name, shape)) for name, shape in tables.clip_extras(CLIP).items()]
    torch_write.write_safetensors(tmp_path, lazy([*engine.to_torch(ours, tables.clip(CLIP)), *unused]))
    hf_settings.write(tmp_path, hf_settings.clip_files(CLIP))
    vision = loaded(transformers.CLIPVisionModel, tmp_path)
    images = image("clip", 2, CLIP.image_size, CLIP.image_size, 3)
    pixels = torch.tensor(images).permute(0, 3, 1, 2)
    with torch.no_grad():
        states = vision(pixels, output_hidden_states=True).hidden_states
        pooled = vision(pixels).pooler_output
    assert relative(quick(lambda m, x: m(x))(ours, images), states[CLIP.select_layer][:, 1:]) < 1e-5
    whole = transformers.CLIPConfig(vision_config=vision.config.to_dict(), text_config={"num_hidden_layers": 1})
    both, report = transformers.CLIPModel.from_pretrained(tmp_path, config=whole, output_loading_info=True)
    assert not [name for name in report["missing_keys"] if name.startswith("vision_model")]
    assert not report["unexpected_keys"] and not report["mismatched_keys"]
    with torch.no_grad():
        assert torch.equal(both.vision_model(pixels).pooler_output, pooled)


def test_sam2(tmp_path):
    """SAM2.1, whose every tensor takes part: two objects are prompted on the first of three frames.

    The video model follows them; the image model, which has no memory, finds them on the first frame.
    """
    cfg = dataclasses.replace(golden_cases.SAM2, image_size=64, no_object_memory=True, pointer_time=True)
    ours = random_model(cfg)
    tensors = sam2_settings.with_positions_twice(lazy(engine.to_torch(ours, hf_sam2(cfg))))
    for kind, memory in ((transformers.Sam2VideoModel, True), (transformers.Sam2Model, False)):
        torch_write.write_safetensors(tmp_path / kind.__name__, tensors, shard_bytes=10**6)
        hf_settings.write(tmp_path / kind.__name__, sam2_settings.transformers_sam2_files(cfg, memory=memory))
    frames = image("sam2 video", FRAMES, cfg.image_size, cfg.image_size, 3)
    logits = track(ours, frames, Prompts(points=POINTS, labels=LABELS))
    video = loaded(transformers.Sam2VideoModel, tmp_path / "Sam2VideoModel")
    assert relative(logits, their_logits(video, frames)) < 2e-3
    found = loaded(transformers.Sam2Model, tmp_path / "Sam2Model")(
        pixel_values=torch.tensor(frames[:1]).permute(0, 3, 1, 2),
        input_points=torch.tensor(POINTS)[None],
        input_labels=torch.tensor(LABELS)[None],
        multimask_output=False,
    )
    assert (found.object_score_logits > 0).all()  # else the masks of the video are empty
    assert relative(logits[0], found.pred_masks[0, :, 0].detach()) < 1e-4


@quick
def track(model, frames, prompts):
    """Logits [T, K, side, side] of the objects prompted on the first frame."""
    features = model.encode(frames)
    first, bank = model.start(jax.tree.map(lambda x: x[:1], features), prompts, frames=FRAMES)
    rest, _ = model.track(bank, jax.tree.map(lambda x: x[1:], features), 1)
    return jnp.concatenate([first.logits[None], rest.logits])


def their_logits(model, images):
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

    side = images.shape[1]
    video = torch.tensor(images).permute(0, 3, 1, 2)
    session = Sam2VideoInferenceSession(video=video, video_height=side, video_width=side, dtype=torch.float32)
    for k, (point, label) in enumerate(zip(POINTS, LABELS, strict=True)):
        given = {"point_coords": torch.tensor(point)[None, None], "point_labels": torch.tensor(label)[None, None]}
        session.add_point_inputs(session.obj_id_to_idx(k + 1), 0, given)
        session.obj_with_new_inputs.append(k + 1)
    with torch.no_grad():
        steps = [model(session, frame_idx=frame) for frame in range(len(images))]
    return np.stack([step.pred_masks[:, 0].numpy() for step in steps])
