"""`vglamm demo`: from a video to masks with nothing at hand; a clip and a toy model are made up where needed."""

import argparse
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vglamm_jax.config import VideoGlammConfig, load_model_config
from vglamm_jax.data.clip_maker import make_clip
from vglamm_jax.data.tokenizer import load_tokenizer, tiny_tokenizer
from vglamm_jax.infer.answer import output_folder
from vglamm_jax.infer.command import answer_command, load_with_progress, prepare
from vglamm_jax.infer.predictor import Predictor
from vglamm_jax.models import layers
from vglamm_jax.models.videoglamm import VideoGlamm
from vglamm_jax.sharding import path_name

SEG_BIAS = 0.6
TOY = {"every_frame": True, "max_new_tokens": 24, "temperature": 1.0}  # a random model never stops by itself
UNTRAINED = """\
This is a tiny model with random weights, to show that everything works on this machine.
Its words and masks mean nothing. With weights: vglamm demo VIDEO PROMPT --checkpoint DIR
"""


def demo_command(args: argparse.Namespace) -> int:
    """Answers about the given video, or a made-up clip, with the given checkpoint, or a made-up model."""
    fill_in(args)
    if args.video is None:
        args.video = make_clip(output_folder(args.out) / "clip.mp4", seconds=2.0)
        print(f"Made a clip: {args.video}")
    question = prepare(args)
    if args.checkpoint is not None:
        model = load_with_progress(args)
    else:
        model = random_model(load_model_config(args.config or "tiny"), args.out / "tokenizer", args.seed)
        print(UNTRAINED)
    return answer_command(model, question, args)


def fill_in(args: argparse.Namespace) -> None:
    """Gives each option that was not given its default: that of `vglamm ask`, or the toy model's."""
    defaults = args.like_ask | (TOY if args.checkpoint is None else {})
    if any(option is not None for option in (args.fps, args.stride, args.max_frames)):
        defaults["every_frame"] = False
    for name, value in defaults.items():
        if getattr(args, name) is None:
            setattr(args, name, value)


def random_model(cfg: VideoGlammConfig, tokenizer: Path, seed: int = 0) -> Predictor:
    """An untrained model that still writes [SEG] now and then, so that there are masks to look at.

    `tokenizer` is a folder to write its tokenizer to.
    """
    model = random_weights(layers.abstract(VideoGlamm, cfg), seed)
    favour_seg(model, cfg, seg=SEG_BIAS, stop=-10)
    # Every object counts as present: random scores would hide random masks.
    model.sam2.sam_mask_decoder.pred_obj_score_head.layers[-1].bias[...] += 10
    return Predictor(model, cfg, load_tokenizer(tiny_tokenizer(tokenizer, cfg.llm.vocab)))


def favour_seg(model: VideoGlamm, cfg: VideoGlammConfig, seg: float, stop: float) -> None:
    """Makes [SEG] and the end of the answer more or less likely, in place.

    The first channel becomes a constant, which gives the output layer a bias.
    """
    table, head = model.llm.embed_tokens.embedding, model.llm.lm_head.kernel
    table[...] = table[...].at[:, 0].set(20)
    bias = jnp.zeros(cfg.llm.padded_vocab).at[cfg.seg_token_id].set(seg).at[jnp.array(cfg.stop_ids)].set(stop)
    head[...] = head[...].at[0].set(bias)


def random_weights(module: nnx.Module, seed: int) -> nnx.Module:
    """An abstract module with values as an initialiser would give them, without compiling one: it takes a second."""
    rng = np.random.default_rng(seed)

    def value(path, leaf):
        name = path_name(path).rpartition("/")[2]
        if name in ("scale", "ls1", "ls2"):
            return jnp.ones(leaf.shape)
        if name == "bias":
            return jnp.zeros(leaf.shape)
        fan_in = math.prod(leaf.shape[-4 if leaf.ndim >= 4 else -2 : -1])
        deviation = fan_in**-0.5 if name == "kernel" else 0.02
        return jnp.asarray(rng.normal(0, deviation, leaf.shape), jnp.float32)

    return jax.tree_util.tree_map_with_path(value, module)
