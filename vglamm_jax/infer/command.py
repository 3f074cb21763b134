"""`vglamm ask` behind its arguments: a question, progress bars, the answer printed and saved."""

import argparse
import sys
from typing import NamedTuple

from tqdm import tqdm

from vglamm_jax.data.video import Video, open_video, sample
from vglamm_jax.infer.answer import OVERLAY, SHEET, Answer, output_folder
from vglamm_jax.infer.generate import Sampling
from vglamm_jax.infer.predictor import Predictor, check_question, load
from vglamm_jax.infer.render import contact_sheet, overlay


class ProgressBars:
    """One bar per stage (loading, reading, encoding, answering, tracking, rendering), on stderr."""

    def __init__(self, enabled: bool = True):
        self.enabled = enabled
        self.bar = None
        self.stage = None

    def __call__(self, stage: str, done: int, total: int, unit: str = "frame") -> None:
        if not self.enabled:
            return
        if stage != self.stage:
            self.close()
            self.bar = tqdm(total=total, desc=f"{stage:<9}", unit=unit, unit_scale=unit == "B", file=sys.stderr)
            self.stage = stage
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
        self.bar = self.stage = None


class Question(NamedTuple):
    """What can be wrong with the arguments, found to be right before weights are read for minutes."""

    video: Video
    sampling: Sampling


def ask_command(args: argparse.Namespace) -> int:
    question = prepare(args)
    return answer_command(load_with_progress(args), question, args)


def prepare(args: argparse.Namespace) -> Question:
    """Opens the video, checks the options, and makes the output folder.

    Raises:
      ValueError, OSError: one line that names what is wrong.
    """
    check_question(args.prompt, args.max_new_tokens, args.max_objects)
    sampling = Sampling(args.temperature, args.top_k, args.top_p, args.seed)
    video = open_video(args.video, source_fps=args.source_fps, allow_truncated=args.allow_truncated)
    sample(video, **frame_choice(args))
    if args.out is not None:
        output_folder(args.out)
    return Question(video, sampling)


def frame_choice(args: argparse.Namespace) -> dict:
    names = ("fps", "stride", "max_frames", "every_frame", "start", "end")
    return {name: getattr(args, name) for name in names}


def load_with_progress(args: argparse.Namespace) -> Predictor:
    """The checkpoint the arguments name, with a bar in bytes."""
    bars = ProgressBars(not args.quiet)
    model = load(
        args.checkpoint,
        clip=args.clip,
        internvideo2=args.internvideo2,
        config=args.config,
        dtype=args.dtype,
        check=args.check,
        progress=lambda done, total: bars("loading", done, total, "B"),
    )
    bars.close()
    return model


def answer_command(model: Predictor, question: Question, args: argparse.Namespace) -> int:
    """Asks, prints what was said and found, and writes the output folder."""
    bars = ProgressBars(not args.quiet)
    answer = model.ask(
        question.video,
        args.prompt,
        mode=args.mode,
        **frame_choice(args),
        max_new_tokens=args.max_new_tokens,
        max_objects=args.max_objects,
        sampling=question.sampling,
        protocol=args.protocol,
        stream=_print_piece if args.stream else None,
        progress=bars,
    )
    report(answer, streamed=args.stream)
    if args.out is not None:
        save(answer, question.video, args, bars)
    bars.close()
    return 0


def _print_piece(text: str) -> None:
    print(text, end="", flush=True)


def report(answer: Answer, streamed: bool = False) -> None:
    """The words, of which a stream has shown all there are, and one line per object."""
    words = answer.text or "(no words)"
    print(words[len(answer.text) :] if streamed else words)
    if not answer.objects:
        print("No object was segmented: the answer names none. Ask for a segmentation to get masks.")
    for index, thing in enumerate(answer.objects):
        frames = len(answer.frame_indices)
        present = int(thing.present.sum())
        print(f"  [{index}] {thing.phrase or '(no phrase)'}: present in {present} of {frames} frames")


def save(answer: Answer, video: Video, args: argparse.Namespace, bars: ProgressBars) -> None:
    """answer.json, overlay.mp4 and answer.png unless switched off, and mask PNGs on request."""
    answer.save(args.out, masks_png=args.masks)
    if not args.no_overlay:
        overlay(answer, video, args.out / OVERLAY, progress=bars)
        contact_sheet(answer, video, args.out / SHEET)
    bars.close()
    print(f"Written to {args.out}")
