"""Small cases whose outputs are stored in tests/golden/: sizes, and weights and inputs made from names.

A tensor's values follow from its name and shape alone, so that only outputs need storing and PyTorch is
needed by `make_golden.py` only.
"""

import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vglamm_jax.config import ClipConfig, HieraConfig, InternVideo2Config, LlmConfig, RopeScaling, Sam2Config
from vglamm_jax.convert import engine, tables
from vglamm_jax.convert.engine import Part
from vglamm_jax.convert.tables_hf_sam2 import hf_sam2
from vglamm_jax.convert.torch_io import LazyTensor
from vglamm_jax.models import layers
from vglamm_jax.models.clip import ClipVision
from vglamm_jax.models.internvideo2 import InternVideo2
from vglamm_jax.models.llm import CausalLM
from vglamm_jax.models.sam2.prompt_encoder import Prompts
from vglamm_jax.models.sam2.tracker import Sam2

FOLDER = Path(__file__).parent / "golden"
CLIP = ClipConfig(image_size=28, patch_size=14, width=32, depth=3, heads=2, mlp_width=64)
INTERNVIDEO2 = InternVideo2Config(image_size=28, patch_size=14, frames=4, width=48, depth=3, heads=3, mlp_width=96)
PHI3 = LlmConfig(
    vocab=100, width=32, depth=2, heads=4, kv_heads=2, head_dim=8, mlp_width=48, max_positions=64, window=8, fused=True
)
SCALING = RopeScaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_positions=64)
LLAMA = LlmConfig(
    vocab=100, width=32, depth=2, heads=4, kv_heads=2, head_dim=8, mlp_width=48, max_positions=256,
    rope_theta=500.0, rope_scaling=SCALING,
)  # fmt: skip
SAM2 = Sam2Config(
    image_size=128,
    hiera=HieraConfig(width=16, heads=1, stages=(1, 2, 3, 1), windows=(8, 4, 8, 4), global_blocks=(4,)),
    memory_attention_depth=1,
    memory_attention_mlp=64,
    memory_fuser_depth=1,
    decoder_mlp=64,
)
FRAMES, OBJECTS = 4, 2


def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32 values for a tensor of this name: matrices keep the scale of what passes through, norms stay near 1."""
    noise = np.random.default_rng(zlib.crc32(name.encode())).random(shape, np.float32) * 2 - 1
    if len(shape) >= 2 and name.endswith("weight") and "embed" not in name:
        return noise * np.float32(1.7 / np.prod(shape[1:]) ** 0.5)
    is_scale = "norm" in name and name.endswith("weight")
    return noise * np.float32(0.3) + np.float32(is_scale)


def image(name: str, *shape: int) -> np.ndarray:
    """Normalised pixels or any other input of a model."""
    return values("input " + name, shape) * np.float32(3)


def filled(make, cfg, rows) -> nnx.Module:
    """The module `make(cfg, rngs)` with named values read through the conversion table."""
    module = layers.abstract(make, cfg)
    shapes = engine.abstract_checkpoint(module, rows, {})
    tensors = {n: LazyTensor(s, np.dtype(np.float32), lambda n=n, s=s: values(n, s), FOLDER) for n, s in shapes.items()}
    return engine.fill(module, Part(rows, tensors))


@jax.jit
def _run(module, *args):
    return module(*args)


def clip() -> dict[str, np.ndarray]:
    model = filled(ClipVision, CLIP, tables.clip(CLIP))
    return {"features": np.asarray(_run(model, image("clip", 2, 28, 28, 3)))}


def internvideo2() -> dict[str, np.ndarray]:
    model = filled(InternVideo2, INTERNVIDEO2, tables.internvideo2(INTERNVIDEO2))
    return {"features": np.asarray(_run(model, image("internvideo2", 2, 4, 28, 28, 3)))}


def ids(cfg: LlmConfig) -> np.ndarray:
    return np.random.default_rng(1).integers(0, cfg.vocab, (2, 24))


def llm(cfg: LlmConfig) -> dict[str, np.ndarray]:
    model = filled(CausalLM, cfg, tables.llm(cfg))
    positions = jnp.broadcast_to(jnp.arange(24), (2, 24))
    hidden = jax.jit(lambda m: m(m.embed(ids(cfg)), positions)[0])(model)
    return {"hidden": np.asarray(hidden), "logits": np.asarray(model.logits(hidden)[..., : cfg.vocab])}


def sam2_model() -> Sam2:
    return filled(Sam2, SAM2, hf_sam2(SAM2))


def sam2_image() -> dict[str, np.ndarray]:
    fine, middle, embed = _run(sam2_model().image_encoder, image("sam2", 1, 128, 128, 3))
    return {
        "stride4": np.asarray(fine)[:, ::8, ::8],
        "stride8": np.asarray(middle)[:, ::4, ::4],
        "stride16": np.asarray(embed)[:, ::2, ::2],
    }


@jax.jit
def _track(model, frames, text):
    features = model.encode(frames)
    framewise = model.framewise(features, text)
    first, bank = model.start(jax.tree.map(lambda x: x[:1], features), Prompts(text=text[:, None]))
    rest, bank = model.track(bank, jax.tree.map(lambda x: x[1:], features), 1)
    return framewise, first, rest, bank


def sam2_video() -> dict[str, np.ndarray]:
    """Text prompts followed through a video: transformers has no such prompts, so these values are our own."""
    text = image("sam2 text", OBJECTS, SAM2.width)
    framewise, first, rest, bank = _track(sam2_model(), image("sam2 video", FRAMES, 128, 128, 3), text)
    logits = np.concatenate([np.asarray(first.logits)[None], np.asarray(rest.logits)])
    return {
        "framewise": np.asarray(framewise.logits)[:, :, ::2, ::2],
        "framewise_iou": np.asarray(framewise.iou),
        "tracked": logits[:, :, ::2, ::2],
        "object_score": np.asarray(rest.object_score),
        "pointers": np.asarray(bank.pointers[:, 1:FRAMES]),
    }


OURS = ("internvideo2", "sam2_video")  # in no library; the others are compared with transformers
CASES = {
    "clip": clip,
    "internvideo2": internvideo2,
    "phi3": lambda: llm(PHI3),
    "llama": lambda: llm(LLAMA),
    "sam2_image": sam2_image,
    "sam2_video": sam2_video,
}
