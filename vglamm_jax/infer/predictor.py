"""A loaded model that answers about videos: the calls of `models/videoglamm.py`, in order, for a file.

model = vglamm_jax.load("weights/")
answer = model.ask("clip.mp4", "Please segment the dog and say what it does.")
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import jax
import jax.numpy as jnp
import numpy as np

from vglamm_jax.config import MaskPath, VideoGlammConfig, load_model_config
from vglamm_jax.convert.load import load as load_model
from vglamm_jax.data import preprocess, prompts, splice
from vglamm_jax.data.tokenizer import SEG, decode, load_tokenizer
from vglamm_jax.data.video import Video, encoder_frames, open_video, sample
from vglamm_jax.infer.answer import Answer, make_answer
from vglamm_jax.infer.generate import Generation, Sampling, bucket, check_lengths, generate
from vglamm_jax.infer.stream import TextStream
from vglamm_jax.infer.track import mask_video
from vglamm_jax.models import layers
from vglamm_jax.models.videoglamm import VideoGlamm

if TYPE_CHECKING:
    from vglamm_jax.data.tokenizer import Tokenizer

Progress = Callable[[str, int, int, str], None]  # stage, done, total, unit
GREEDY = Sampling()


@jax.jit
def see_video(model: VideoGlamm, context: jax.Array | None, frames: jax.Array | None) -> jax.Array:
    return model.see_video(context, frames)


@jax.jit
def see_image(model: VideoGlamm, image: jax.Array) -> jax.Array:
    return model.see_image(image)


@jax.jit
def read(model: VideoGlamm, ids: jax.Array, visual_index: jax.Array, visual: jax.Array | None) -> jax.Array:
    return model.read(ids, visual_index, visual)


@jax.jit
def point(model: VideoGlamm, seg_hidden: jax.Array) -> jax.Array:
    return model.point(seg_hidden)


class Predictor:
    """A model, its tokenizer, and how to ask it."""

    def __init__(self, model: VideoGlamm, cfg: VideoGlammConfig, tokenizer: "Tokenizer"):
        """On a CPU the layers of `model` are taken out of their stacks, in place: scanning copies weights there."""
        self.model = layers.unstack_all(model) if jax.default_backend() == "cpu" else model
        self.cfg = cfg
        self.tokenizer = tokenizer
        self.dtype = model.text_hidden_fcs.fc1.kernel.dtype

    def ask(
        self,
        video: str | Path | Video,
        prompt: str,
        *,
        mode: MaskPath | None = None,
        fps: float = 1.0,
        stride: int | None = None,
        max_frames: int | None = 64,
        every_frame: bool = False,
        start: float | None = None,
        end: float | None = None,
        max_new_tokens: int = 512,
        max_objects: int = 32,
        sampling: Sampling = GREEDY,
        keep_logits: bool = False,
        protocol: Literal["default", "reference"] = "default",
        stream: Callable[[str], None] | None = None,
        progress: Progress | None = None,
    ) -> Answer:
        """Answers a question about a video, with masks of the objects the answer names.

        Args:
          video: a file, a folder of frames, an image, or an opened `Video`.
          prompt: the question.
          mode: follow objects with memory ("tracked") or decode each frame alone ("framewise"); default the config's.
          fps, stride, max_frames, every_frame, start, end: which frames are tracked, see `data.video.sample`; the
            dual encoder sees `cfg.frames` of them, spread evenly.
          max_new_tokens, sampling: how long and how the answer is chosen; greedy by default.
          max_objects: an answer that names more raises ValueError rather than dropping some.
          keep_logits: also keep the mask decoder's logits, [frames, h, w] per object.
          protocol: "reference" lets a [SEG] written in the prompt count as an object, as the original does (they come
            first and have no phrase).
          stream: called with each new piece of the answer's text.
          progress: called with (stage, done, total, unit) during reading, answering and tracking.

        Raises:
          VideoError: the video cannot be read. ValueError: the prompt is too long, or an option is out of range.
        """
        check_question(prompt, max_new_tokens, max_objects)
        video = video if isinstance(video, Video) else open_video(video)
        indices = sample(video, fps, stride, max_frames, every_frame, start, end)
        report = progress or (lambda stage, done, total, unit: None)
        batch = self.prompt(video.kind, prompt, max_new_tokens)
        visual = self.see(video, indices, report)
        said = self.say(batch, visual, max_new_tokens, max_objects, sampling, protocol, stream, report)
        seg_prompts = np.asarray(point(self.model, said.seg_hidden[0]))[: int(said.seg_count[0])]
        return make_answer(
            SEG * int(said.seg_in_prompt[0]) + self.raw_text(said.ids(0)),
            said.ids(0),
            self._masks(video, indices, seg_prompts, mode or self.cfg.mask_path, report),
            size=video.size,
            frame_indices=indices,
            timestamps=video.timestamps[indices],
            video=str(video.path),
            prompt=prompt,
            keep_logits=keep_logits,
        )

    def _masks(self, video: Video, indices, seg_prompts: np.ndarray, path: MaskPath, report: Progress):
        for done, frame in enumerate(mask_video(self.model.sam2, video, indices, seg_prompts, path), 1):
            yield frame
            report("tracking", done, len(indices), "frame")

    def raw_text(self, ids: list[int]) -> str:
        """What the ids say, with exactly one "[SEG]" per [SEG] token, even if the model also spells one out."""
        text = decode(self.tokenizer, ids)
        if text.count(SEG) == ids.count(self.cfg.seg_token_id):
            return text
        pieces, piece = [], []
        for token in [*ids, self.cfg.seg_token_id]:
            if token == self.cfg.seg_token_id:
                pieces.append(self._words(piece, after_seg=bool(pieces)).replace(SEG, "[ SEG ]"))
                piece = []
            else:
                piece.append(token)
        return SEG.join(pieces)

    def _words(self, ids: list[int], after_seg: bool) -> str:
        """What ids without [SEG] say; alone they would lose the space that stands between them and a [SEG]."""
        if not after_seg:
            return decode(self.tokenizer, ids)
        return decode(self.tokenizer, [self.cfg.seg_token_id, *ids]).removeprefix(SEG)

    def see(self, video: Video, indices: np.ndarray, report: Progress) -> jax.Array:
        """The visual rows of a video or image, [1, rows, width]."""
        wanted = indices[encoder_frames(len(indices), self.cfg.frames)] if video.kind == "video" else indices[:1]
        frames = []
        for frame in video.frames(wanted):
            frames.append(frame)
            report("reading", len(frames), len(wanted), "frame")
        report("encoding", 0, 1, "video")
        visual = self._encode(video.kind, frames)
        visual.block_until_ready()
        report("encoding", 1, 1, "video")
        return visual

    def _encode(self, kind: str, frames: list[np.ndarray]) -> jax.Array:
        def pixels(prepare, size):
            return jnp.asarray(prepare(frames, size), self.dtype)

        if kind == "image":
            return see_image(self.model, pixels(preprocess.clip_pixels, self.cfg.clip.image_size))
        context = clips = None
        if self.model.clip is not None:
            context = pixels(preprocess.clip_pixels, self.cfg.clip.image_size)[None]
        if self.model.internvideo2 is not None:
            clips = pixels(preprocess.internvideo2_pixels, self.cfg.internvideo2.image_size)[None]
        return see_video(self.model, context, clips)

    def prompt_ids(self, kind: str, prompt: str) -> np.ndarray:
        """Token ids of the chat prompt, with placeholders where the video goes."""
        text = prompts.render(prompts.question(prompt, kind), self.cfg.template, self.cfg.frames)
        return prompts.encode(text, self.tokenizer)

    def prompt(self, kind: str, prompt: str, max_new_tokens: int) -> splice.PromptBatch:
        """The prompt as a batch of one, with room for the video; ValueError where it is too long."""
        rows = self.cfg.video_tokens if kind == "video" else self.cfg.image_tokens
        row = splice.expand(self.prompt_ids(kind, prompt), rows, self.cfg.seg_token_id)
        batch = splice.left_pad([row], bucket(len(row[0])), self.cfg.pad_token_id)
        check_lengths(batch.lengths, batch.ids.shape[1], max_new_tokens, self.cfg.llm.max_positions)
        return batch

    def say(
        self, batch: splice.PromptBatch, visual, max_new_tokens, max_objects, sampling, protocol, stream, report
    ) -> Generation:
        """The answer's tokens and the states that predict its [SEG]s."""
        written = 0
        text = TextStream(self.raw_text, stream) if stream is not None else None

        def receive(rows: list[list[int]]) -> None:
            nonlocal written
            written += len(rows[0])
            report("answering", written, max_new_tokens, "token")
            if text is not None:
                text.add(rows[0])

        embeds = read(self.model, jnp.asarray(batch.ids), jnp.asarray(batch.visual), visual)
        said = generate(
            self.model.llm,
            embeds,
            batch.lengths,
            max_new_tokens=max_new_tokens,
            stop_ids=self.cfg.stop_ids,
            seg_token_id=self.cfg.seg_token_id,
            pad_id=self.cfg.pad_token_id,
            sampling=sampling,
            prompt_seg=batch.predicts_seg if protocol == "reference" else None,
            max_objects=max_objects,
            stream=receive,
        )
        if text is not None:
            text.finish()
        if said.seg_overflow[0]:
            named = max_objects + int(said.seg_overflow[0])
            raise ValueError(
                f"the answer names {named} objects, more than max_objects={max_objects}: allow more (--max-objects "
                f"{named})"
            )
        return said


def check_question(prompt: str, max_new_tokens: int, max_objects: int) -> None:
    """Raises ValueError for what no model can answer."""
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"the prompt is not valid UTF-8 at character {error.start + 1}: type it in a UTF-8 terminal"
        ) from error
    for name, value in (("max_new_tokens", max_new_tokens), ("max_objects", max_objects)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")


def load(
    folder: str | Path,
    *,
    clip: str | Path | None = None,
    internvideo2: str | Path | None = None,
    sam2: str | Path | None = None,
    config: str | Path | VideoGlammConfig | None = None,
    dtype: str | None = None,
    check: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Predictor:
    """Loads a checkpoint: the original's files (see `convert.source.find`), or an Orbax folder of `vglamm convert`.

    Args:
      folder: the Hugging Face folder, one with `checkpoint/`, `clip/` and `internvideo2.pt`, or the Orbax folder.
      clip, internvideo2, sam2: where those parts are, when not beside the checkpoint.
      config: sizes to use instead of those read from the files: a `VideoGlammConfig` or a config file.
      dtype: "float32" or "bfloat16"; by default float32 on a CPU (where bfloat16 is slow), else bfloat16.
      check: first compare every tensor with the manifest that `vglamm convert` wrote with the folder.
      progress: called with the bytes read so far and in all.

    Raises:
      FileNotFoundError, CheckpointError: what is missing or does not fit, and what to do about it.
    """
    if config is not None and not isinstance(config, VideoGlammConfig):
        config = load_model_config(config)
    dtype = dtype or ("float32" if jax.default_backend() == "cpu" else "bfloat16")
    model, cfg, tokenizer = load_model(
        folder, clip, internvideo2, sam2, config, dtype=dtype, check=check, progress=progress
    )
    return Predictor(model, cfg, tokenizer_of(cfg, tokenizer))


def tokenizer_of(cfg: VideoGlammConfig, folder: Path) -> "Tokenizer":
    """The folder's tokenizer; ValueError where its [SEG] is not the model's."""
    tokenizer = load_tokenizer(folder)
    theirs = tokenizer.convert_tokens_to_ids(SEG)
    if theirs != cfg.seg_token_id:
        raise ValueError(
            f"{folder}: [SEG] is {theirs} in this tokenizer and {cfg.seg_token_id} in the model; copy the tokenizer's "
            "files from where the checkpoint was trained, or state seg_token_id in a config and pass --config"
        )
    return tokenizer
