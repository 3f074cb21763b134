"""A golden folder and the model under test: what each stage of `vglamm parity` compares, computed once.

A value is computed from the original's values of the stage before where the golden folder has them in
full, so that one wrong part makes one stage wrong; else from our own.
"""

import dataclasses
import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from vglamm_jax.config import VideoGlammConfig
from vglamm_jax.data import preprocess, prompts, splice
from vglamm_jax.data.tokenizer import load_tokenizer
from vglamm_jax.data.video import encoder_frames
from vglamm_jax.infer import track
from vglamm_jax.infer.generate import Generation, generate
from vglamm_jax.models.adapters import visual_tokens
from vglamm_jax.models.sam2.image_encoder import Features
from vglamm_jax.models.sam2.tracker import Tracked
from vglamm_jax.models.videoglamm import VideoGlamm

FILES = ("inputs.npz", "preprocessed.npz", "outputs.npz")


@jax.jit
def _apply(module, x):
    return module(x)


@jax.jit
def _read(model: VideoGlamm, image, video, ids, visual):
    return model.read(ids, visual, visual_tokens(image, video, model.cfg, 1))


class Case:
    """Golden arrays by name, and ours as lazy attributes.

    Raises:
      FileNotFoundError: the folder has no case.json or no arrays.
    """

    def __init__(self, folder: Path, model: VideoGlamm, cfg: VideoGlammConfig, tokenizer: Path):
        self.folder, self.model, self.cfg, self.tokenizer = folder, model, cfg, tokenizer
        self.said, self.golden = read_golden(folder)

    @functools.cached_property
    def frames(self) -> np.ndarray:
        """uint8 [T, H, W, 3]."""
        return self.golden["frames"]

    @functools.cached_property
    def seen(self) -> list[np.ndarray]:
        """The frames the dual encoder looks at."""
        return [self.frames[i] for i in encoder_frames(len(self.frames), self.cfg.frames)]

    @functools.cached_property
    def context(self) -> np.ndarray:
        return preprocess.clip_pixels(self.seen, self.cfg.clip.image_size)

    @functools.cached_property
    def video(self) -> np.ndarray:
        return preprocess.internvideo2_pixels(self.seen, self.cfg.internvideo2.image_size)

    @functools.cached_property
    def sam2_pixels(self) -> np.ndarray:
        return preprocess.sam2_pixels(self.frames, self.cfg.sam2.image_size)

    @functools.cached_property
    def prompt_ids(self) -> np.ndarray:
        text = prompts.render(prompts.question(self.said["prompt"]), self.cfg.template, self.cfg.frames)
        return prompts.encode(text, load_tokenizer(self.tokenizer))

    @functools.cached_property
    def clip(self) -> jax.Array:
        return _apply(self.model.clip, self.context)

    @functools.cached_property
    def internvideo2(self) -> jax.Array:
        """CLS included."""
        clips = self.video.reshape(self.cfg.clips, self.cfg.internvideo2.frames, *self.video.shape[1:])
        return _apply(self.model.internvideo2, clips)

    @functools.cached_property
    def image_projected(self) -> jax.Array:
        return _apply(self.model.image_mm_projector, self.clip)

    @functools.cached_property
    def video_projected(self) -> jax.Array:
        return _apply(self.model.mm_projector, self.internvideo2[:, 1:])

    def expanded(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Golden ids with the visual rows in place of placeholders: ids, visual rows, predicts-[SEG] marks."""
        return splice.expand(self.golden[name][0], self.cfg.video_tokens, self.cfg.seg_token_id)

    @property
    def prompt_length(self) -> int:
        """Positions of the prompt, visual rows included."""
        return len(self.expanded("input_ids")[0])

    @functools.cached_property
    def inputs_embeds(self) -> jax.Array:
        ids, visual, _ = self.expanded("input_ids")
        return _read(self.model, self.image_projected, self.video_projected, ids[None], visual[None])

    @functools.cached_property
    def generation(self) -> Generation:
        given = self.golden.get("inputs_embeds")
        return generate(
            self.model.llm,
            self.inputs_embeds if given is None else jnp.asarray(given),
            max_new_tokens=len(self.said["generated"]),
            stop_ids=self.cfg.stop_ids,
            seg_token_id=self.cfg.seg_token_id,
            pad_id=self.cfg.pad_token_id,
            prompt_seg=self.expanded("input_ids")[2][None],
            return_scores=True,
            return_hidden=True,
        )

    @functools.cached_property
    def seg_states(self) -> jax.Array:
        """States that predict [SEG], [K, D]."""
        given = self.golden.get("last_hidden")
        if given is None:
            return self.generation.seg_hidden[0, : int(self.generation.seg_count[0])]
        marks = self.expanded("output_ids")[2][: given.shape[1]]  # the last token was chosen, never read
        return jnp.asarray(given[0, marks])

    @functools.cached_property
    def pointed(self) -> jax.Array:
        """Mask decoder prompts [K, width]."""
        return self.model.point(self.seg_states)

    @functools.cached_property
    def text(self) -> jax.Array:
        given = self.golden.get("seg_embeddings")
        return self.pointed if given is None else jnp.asarray(given)

    @functools.cached_property
    def features(self) -> list[Features]:
        """Of each frame, [1] image each."""
        return [track.encode(self.model.sam2, frame[None]) for frame in self.sam2_pixels]

    @functools.cached_property
    def first_features(self) -> Features:
        """Of frame 0, with the original's embedding where it is there in full; that has `no_mem_embed` in it."""
        given = self.golden.get("sam2_image_embed_f0")
        if given is None:
            return self.features[0]
        embed = jnp.asarray(given.transpose(0, 2, 3, 1)) - self.model.sam2.no_mem_embed[0, 0]
        return dataclasses.replace(self.features[0], embed=embed)

    @functools.cached_property
    def framewise(self) -> list[Tracked]:
        """Of each frame, [1, K, ...]."""
        frames = [self.first_features, *self.features[1:]]
        return [track.separately(self.model.sam2, features, self.text) for features in frames]

    @functools.cached_property
    def tracked(self) -> dict[str, np.ndarray]:
        """`logits` [T, K, h, w] of all frames, `pointers` [K, width] and `memory` [K, cells, narrow] of frame 1."""
        sam2, span = self.model.sam2, min(len(self.frames), self.cfg.sam2.num_pointers)
        first, bank = track.begin(sam2, self.first_features, self.text, span)
        kept, logits = {}, [np.asarray(first.logits)[None]]
        for frame, features in enumerate(self.features[1:], start=1):
            output, bank = track.follow(sam2, bank, features, jnp.int32(frame))
            logits.append(np.asarray(output.logits))
            if frame == 1:  # copies: the next step reuses the bank's memory
                kept["pointers"] = np.array(bank.pointers[:, frame % bank.pointers.shape[1]])
                kept["memory"] = np.array(bank.maps[:, frame % bank.maps.shape[1]].astype(jnp.float32))
        return kept | {"logits": np.concatenate(logits)}

    def masks(self, logits: np.ndarray) -> np.ndarray:
        """Logits [T, K, h, w] -> bool [T, K, H, W]."""
        return np.stack([preprocess.masks_from_logits(frame, self.frames.shape[1:3]) for frame in logits])


def read_golden(folder: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """case.json and all arrays of a golden folder; its losses and gradient norms are `loss:*` and `grad_norm:*` too."""
    present = [name for name in FILES if (folder / name).is_file()]
    if not (folder / "case.json").is_file() or not present:
        raise FileNotFoundError(f"{folder}: not a golden folder; it needs case.json and {', '.join(FILES)}")
    arrays: dict[str, np.ndarray] = {}
    for name in present:
        with np.load(folder / name) as file:
            arrays |= dict(file)
    said = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    for kind, values in (("loss", said.get("losses", {})), ("grad_norm", said.get("grad_norms", {}))):
        arrays |= {f"{kind}:{name}": np.float64(value) for name, value in values.items()}
    return said, arrays
