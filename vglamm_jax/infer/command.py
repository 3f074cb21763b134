"""`vglamm ask` behind its arguments: a question, progress bars, the answer printed and saved."""

import argparse
import sys

from tqdm import tqdm

from vglamm_jax.data.video import Video, open_video
from vglamm_jax.infer.answer import Answer
from vglamm_jax.infer.generate import Sampling
from vglamm_jax.infer.predictor import Predictor, load
from vglamm_jax.infer.render import overlay


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


def answer_command(model: Predictor, args: argparse.Namespace) -> int:
    """Asks, prints what was said and found, and writes the output folder."""
    bars = ProgressBars(not args.quiet)
    video = open_video(args.video, source_fps=args.source_fps, allow_truncated=args.allow_truncated)
    answer = model.ask(
        video,
        args.prompt,
        mode=args.mode,
        fps=args.fps,
        stride=args.stride,
        max_frames=args.max_frames,
        every_frame=args.every_frame,
        start=args.start,
        end=args.end,
        max_new_tokens=args.max_new_tokens,
        sampling=Sampling(args.temperature, args.top_k, args.top_p, args.seed),
        protocol=args.protocol,
        stream=_print_piece if args.stream else None,
        progress=bars,
    )
    if args.stream:
        print()
    report(answer)
    if args.out is not None:
        save(answer, video, args, bars)
    bars.close()
    return 0


def _print_piece(text: str) -> None:
    print(text, end="", flush=True)


def report(answer: Answer) -> None:
    """The words, and one line per object."""
    print(answer.text or "(no words)")
    if not answer.objects:
        print("No object was segmented: the answer names none. Ask for a segmentation to get masks.")
    for index, thing in enumerate(answer.objects):
        frames = len(answer.frame_indices)
        present = int(thing.present.sum())
        print(f"  [{index}] {thing.phrase or '(no phrase)'}: present in {present} of {frames} frames")


def save(answer: Answer, video: Video, args: argparse.Namespace, bars: ProgressBars) -> None:
    """answer.json, and overlay.mp4 unless switched off, and mask PNGs on request."""
    answer.save(args.out, masks_png=args.masks)
    if not args.no_overlay:
        overlay(answer, video, args.out / "overlay.mp4", progress=bars)
    bars.close()
    print(f"Written to {args.out}")
