"""`vglamm demo`: from a video to masks with nothing at hand; a clip and a toy model are made up where needed."""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

from vglamm_jax.config import VideoGlammConfig, load_config
from vglamm_jax.data.clip_maker import make_clip
from vglamm_jax.data.tokenizer import load_tokenizer, tiny_tokenizer
from vglamm_jax.infer.command import answer_command, load_with_progress
from vglamm_jax.infer.predictor import Predictor
from vglamm_jax.models.videoglamm import VideoGlamm

SEG_BIAS = 0.6
UNTRAINED = """\
This is a tiny model with random weights, to show that everything works on this machine.
Its words and masks mean nothing. With weights: vglamm demo VIDEO PROMPT --checkpoint DIR
"""


def demo_command(args: argparse.Namespace) -> int:
    """Answers about the given video, or a made-up clip, with the given checkpoint, or a made-up model."""
    if args.video is None:
        args.video = make_clip(_folder(args.out) / "clip.mp4", seconds=2.0)
        print(f"Made a clip: {args.video}")
    if args.checkpoint is not None:
        model = load_with_progress(args)
    else:
        model = random_model(load_config(args.config or "tiny"), args.out / "tokenizer", args.seed)
        print(UNTRAINED)
    return answer_command(model, args)


def random_model(cfg: VideoGlammConfig, tokenizer: Path, seed: int = 0) -> Predictor:
    """An untrained model that still writes [SEG] now and then, so that there are masks to look at.

    `tokenizer` is a folder to write its tokenizer to.
    """
    model = jax.jit(lambda: VideoGlamm(cfg, nnx.Rngs(seed)))()
    # The first channel is made a constant, which gives the output layer a bias: [SEG] likely, the end never.
    model.llm.embed_tokens.embedding[...] = model.llm.embed_tokens.embedding[...].at[:, 0].set(20)
    bias = jnp.zeros(cfg.llm.padded_vocab).at[cfg.seg_token_id].set(SEG_BIAS).at[jnp.array(cfg.stop_ids)].set(-10)
    model.llm.lm_head.kernel[...] = model.llm.lm_head.kernel[...].at[0].set(bias)
    # Every object counts as present: random scores would hide random masks.
    model.sam2.sam_mask_decoder.pred_obj_score_head.layers[-1].bias[...] += 10
    return Predictor(model, cfg, load_tokenizer(tiny_tokenizer(tokenizer, cfg.llm.vocab)))


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path
