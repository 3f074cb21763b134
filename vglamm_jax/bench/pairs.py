"""The programs `vglamm bench inference` measures: ours and PyTorch's, on the same weights and inputs."""

import copy
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers

from vglamm_jax.bench import torch_models
from vglamm_jax.bench.timing import Pair
from vglamm_jax.bench.weights import load
from vglamm_jax.config import ClipConfig, LlmConfig, Sam2Config
from vglamm_jax.convert import tables
from vglamm_jax.convert.tables_hf_sam2 import hf_sam2
from vglamm_jax.infer import generate
from vglamm_jax.models import layers
from vglamm_jax.models.clip import ClipVision
from vglamm_jax.models.llm import CausalLM
from vglamm_jax.models.sam2.image_encoder import Features
from vglamm_jax.models.sam2.mask_decoder import Masks
from vglamm_jax.models.sam2.memory import MemoryBank
from vglamm_jax.models.sam2.prompt_encoder import Prompts
from vglamm_jax.models.sam2.tracker import Sam2

SEED = 0


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(SEED).standard_normal(shape).astype(np.float32)


def channels_first(x: np.ndarray) -> torch.Tensor:
    return torch.tensor(np.ascontiguousarray(np.moveaxis(x, -1, -3)))


def inference(program: Callable) -> Callable:
    """`program` without autograd, its result as an array."""

    def run(*args):
        with torch.inference_mode():
            return program(*args).numpy()

    return run


def clip(cfg: ClipConfig, images: int) -> Iterator[Pair]:
    """The spatial encoder on a few images."""
    theirs = torch_models.clip(cfg)
    rows = tables.clip(cfg)
    model = layers.unstack_all(load(ClipVision, cfg, rows, theirs.state_dict(), "vision_model."))
    pixels = random(images, cfg.image_size, cfg.image_size, 3)
    for_torch = channels_first(pixels)
    # transformers also runs the final norm on CLS, which is a row of 1024 numbers.
    last_state = inference(lambda: theirs(for_torch).last_hidden_state[:, 1:])
    apply = jax.jit(lambda model, x: model(x))
    yield Pair("CLIP", f"{images} images, {cfg.blocks_run} blocks", lambda: apply(model, pixels), last_state)


def llm(cfg: LlmConfig, prompt: int, new_tokens: int) -> Iterator[Pair]:
    """Reading a prompt of embeddings, and writing an answer token by token with a cache."""
    theirs = torch_models.llm(cfg)
    model = layers.unstack_all(load(CausalLM, cfg, tables.llm(cfg), theirs.state_dict()))
    embeds = random(1, prompt, cfg.width) * 0.02
    rules = generate.make_rules(-1, (-1,), 0, generate.Sampling())

    def read() -> generate.State:
        nothing, none = jnp.zeros(1, jnp.int32), jnp.zeros((1, prompt), bool)
        return generate.prefill(
            model, embeds, nothing, none, rules, new_tokens=new_tokens, max_objects=1, return_scores=True
        )

    def torch_read():
        with torch.inference_mode():
            return theirs(inputs_embeds=torch.tensor(embeds), use_cache=True, logits_to_keep=1)

    detail = f"{prompt} positions, {cfg.depth} blocks"
    yield Pair(
        "LLM prefill", detail, lambda: read().scores[0, 0, : cfg.vocab], lambda: torch_read().logits[0, -1].numpy()
    )

    state, read_by_torch = read(), torch_read()
    first = read_by_torch.logits[:, -1].argmax(-1, keepdim=True)
    yield Pair(
        "LLM decode step",
        f"after {detail}",
        lambda state: generate.decode(model, state, jnp.int32(new_tokens), rules).tokens[0],
        lambda cache: _torch_decode(theirs, first, cache, new_tokens),
        ours_state=lambda: (jax.tree.map(jnp.copy, state),),
        torch_state=lambda: (copy.deepcopy(read_by_torch.past_key_values),),
        steps=new_tokens - 1,
    )


@torch.inference_mode()
def _torch_decode(model, token: torch.Tensor, cache, new_tokens: int) -> np.ndarray:
    tokens = [token]
    for _ in range(new_tokens - 1):
        logits = model(input_ids=tokens[-1], past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        tokens.append(logits[:, -1].argmax(-1, keepdim=True))
    return torch.cat(tokens, 1)[0].numpy()


def sam2(cfg: Sam2Config, objects: int) -> Iterator[Pair]:
    """The image encoder, decoding of one frame, and the step that follows objects into the next frame."""
    video = torch_models.sam2_video(cfg)
    image = torch_models.sam2_image(cfg, video)
    model = layers.unstack_all(load(Sam2, cfg, hf_sam2(cfg), video.state_dict()))
    pixels = random(1, cfg.image_size, cfg.image_size, 3)
    for_torch = channels_first(pixels)
    encode = jax.jit(lambda model, x: model.encode(x))
    without_memory = image.no_memory_embedding.reshape(-1, 1, 1)
    yield Pair(
        "SAM2 image encoder",
        f"1 frame of {cfg.image_size} px, {sum(cfg.hiera.stages)} blocks",
        lambda: _channels_first_embed(encode(model, pixels)),
        inference(lambda: image.get_image_embeddings(for_torch)[-1] - without_memory),
    )

    features = encode(model, pixels)
    points = np.random.default_rng(SEED).uniform(0, cfg.image_size, (objects, 1, 2)).astype(np.float32)
    yield _mask_decode(model, image, features, for_torch, points)
    yield _tracker_step(model, video, features, for_torch, points)


def _channels_first_embed(features: Features) -> tuple[np.ndarray, Features]:
    return np.moveaxis(np.asarray(features.embed), -1, 1), features


def _prompts(points: np.ndarray) -> Prompts:
    return Prompts(points=jnp.asarray(points), labels=jnp.ones(points.shape[:2], jnp.int32))


def _mask_decode(model: Sam2, image, features: Features, pixels: torch.Tensor, points: np.ndarray) -> Pair:
    with torch.inference_mode():
        embeddings = image.get_image_embeddings(pixels)
    prompts = jax.tree.map(lambda x: x[None], _prompts(points))

    @jax.jit
    def decode(model, features) -> tuple[jax.Array, Masks]:
        masks = model.predict(features, prompts).multi()
        return masks.logits[0], masks

    given = {"input_points": torch.tensor(points)[None], "input_labels": torch.ones(1, *points.shape[:2]).int()}
    return Pair(
        "SAM2 mask decode",
        f"{len(points)} objects",
        lambda: decode(model, features),
        inference(lambda: image(image_embeddings=embeddings, multimask_output=True, **given).pred_masks[0]),
    )


def _tracker_step(model: Sam2, video, features: Features, pixels: torch.Tensor, points: np.ndarray) -> Pair:
    """The first frame that sees a full set of memory maps; every frame shows one image, encoded beforehand."""
    frame = model.cfg.num_memories

    @jax.jit
    def step(model, bank) -> tuple[jax.Array, MemoryBank]:
        output, bank = model.step(bank, features, frame)
        return output.logits, bank

    @jax.jit
    def follow(model):
        bank = model.start(features, _prompts(points), frames=frame + 1)[1]
        before = jax.tree.map(lambda x: jnp.broadcast_to(x, (frame - 1, *x.shape[1:])), features)
        return model.track(bank, before, 1)[1]

    # PyTorch's memory grows to this many maps, ours has them from the start.
    bank = follow(model)
    session = _session(video, pixels, points, frame)
    return Pair(
        "SAM2 tracker step",
        f"{len(points)} objects, frame {frame}",
        lambda: step(model, bank),
        inference(lambda: video(session, frame_idx=frame).pred_masks[:, 0]),
    )


@torch.inference_mode()
def _session(video, pixels: torch.Tensor, points: np.ndarray, frames: int) -> transformers.Sam2VideoInferenceSession:
    """A session that has tracked points from frame 0 up to, not including, `frames`."""
    video_frames = pixels.expand(frames + 1, -1, -1, -1)
    session = transformers.Sam2VideoInferenceSession(
        video_frames, *pixels.shape[-2:], dtype=torch.float32, max_vision_features_cache_size=frames + 2
    )
    encoded = video.get_image_features(pixels, return_dict=True)
    for frame in range(frames + 1):
        maps = {"vision_feats": encoded.fpn_hidden_states, "vision_pos_embeds": encoded.fpn_position_encoding}
        session.cache.cache_vision_features(frame, maps)
    for obj in range(len(points)):
        place = session.obj_id_to_idx(obj)
        click = {"point_coords": torch.tensor(points[obj])[None, None], "point_labels": torch.ones(1, 1, 1).int()}
        session.add_point_inputs(place, 0, click)
        session.obj_with_new_inputs.append(obj)
    for frame in range(frames):
        video(session, frame_idx=frame)
    return session
