"""`vglamm bench data`: what each step of the data pipeline costs, decoding against the bare libraries, and waiting.

Costs are processor time of all threads, so they are per core and other programs do not show in them. Everything is
measured on a made-up 480p video and JPEGs of it, written to a temporary folder.
"""

import collections
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

from vglamm_jax.config import VideoGlammConfig, load_model_config
from vglamm_jax.data.clip_maker import SCENE, scene_frames
from vglamm_jax.data.image_files import read_image
from vglamm_jax.data.markup import Phrase
from vglamm_jax.data.masks import encode
from vglamm_jax.data.mixture import Draw, InMemory, Part
from vglamm_jax.data.pack import PackConfig
from vglamm_jax.data.pipeline import DataConfig, Prepare
from vglamm_jax.data.schema import Example, Media, Obj, Turn, from_dict, to_dict
from vglamm_jax.data.synthetic import MovingThings
from vglamm_jax.data.synthetic import example as synthetic_example
from vglamm_jax.data.tokenizer import Tokenizer, load_tokenizer, tiny_tokenizer
from vglamm_jax.data.video import open_video
from vglamm_jax.data.video_writer import write_video

SIZE = (480, 854)
FRAMES = 120
FPS = 24.0
STRIDE = 6  # of the JPEGs in the video
STEPS = {  # methods of `Prepare`, in their order
    "read": "read and check the record",
    "said": "word the conversation",
    "opened": "open the video",
    "chosen": "choose frames",
    "targets": "decode masks",
    "augmented": "plan the augmentation",
    "tokenised": "tokenise",
    "decoded": "decode frames",
    "changed": "augment pixels and masks",
    "packed": "resize and pack",
    "collate": "batch",
}
CAPTION = "The red ball and the blue box cross the room."


@dataclasses.dataclass(frozen=True)
class Row:
    """Milliseconds for one of what `per` says, how many in a second, and what stands out."""

    name: str
    per: str
    ms: float
    per_second: float
    note: str = ""


COLUMNS = {"what": 39, "per": 21, "ms": 7, "a second": 8, "note": 40}


def cells(row: Row) -> tuple[str, ...]:
    return row.name, row.per, f"{row.ms:.2f}", f"{row.per_second:.1f}", row.note


def run(
    config: str | Path = "videoglamm_phi3",
    examples: int = 8,
    supervised: int = 4,
    steps: int = 20,
    report: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """All measurements: `examples` of each kind at the sizes of `config`, then `steps` steps of the tiny model.

    Raises:
      ValueError: a number below 1.
    """
    if min(examples, supervised, steps) < 1:
        raise ValueError(f"examples, supervised frames and steps must be 1 or more, got {examples, supervised, steps}")
    from vglamm_jax.bench.data_consumer import stalls

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        media = Files(Path(folder))
        tokenizer = load_tokenizer(tiny_tokenizer(Path(folder) / "tokenizer"))
        cfg = dataclasses.replace(load_model_config(config), seg_token_id=tokenizer.convert_tokens_to_ids("[SEG]"))
        for measured in (
            stages(media, cfg, tokenizer, examples, supervised),
            decoding(media),
            (Row(*values) for values in stalls(mixtures(media), load_model_config("tiny"), tokenizer, steps)),
        ):
            for row in measured:
                rows.append(row)
                report(row)
    return rows


class Files:
    """The video as mp4 and as JPEGs, and examples about it."""

    def __init__(self, root: Path, count: int = FRAMES, size: tuple[int, int] = SIZE):
        self.root = root
        frames, masks = (np.stack(parts) for parts in zip(*scene_frames(count, size)))
        noise = np.random.default_rng(0).normal(0, 4, frames[0].shape)  # a clean drawing would decode too easily
        frames = [np.clip(frame + np.roll(noise, i, 1), 0, 255).astype(np.uint8) for i, frame in enumerate(frames)]
        self.video = write_video(root / "clip.mp4", frames, FPS)
        self.pictures = [root / f"{i:03d}.jpg" for i in range(0, count, STRIDE)]
        for i, path in enumerate(self.pictures):
            cv2.imwrite(str(path), frames[STRIDE * i][..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
        self.masks = masks

    def parts(self) -> list[Part]:
        """The same clip as a video file, as a folder of pictures, and a picture alone."""
        names, size = tuple(path.name for path in self.pictures), self.masks.shape[-2:]
        slow = FPS / STRIDE
        kinds = {
            "mp4": (Media(kind="video", size=size, length=len(self.masks), fps=FPS, path="clip.mp4"), 1),
            "jpeg frames": (Media(kind="video", size=size, length=len(names), fps=slow, frames=names), STRIDE),
            "image": (Media(kind="image", size=size, length=1, path=names[0]), STRIDE),
        }
        return [Part(Json(name, self._example(name, *media), self.root)) for name, media in kinds.items()]

    def _example(self, name: str, media: Media, stride: int) -> Example:
        objects = tuple(
            Obj(id=shape.name, masks={t: encode(self.masks[t * stride, i]) for t in range(media.length)})
            for i, shape in enumerate(SCENE)
        )
        phrases = (Phrase(0, 12, (SCENE[0].name,)), Phrase(17, 29, (SCENE[1].name,)))
        turn = Turn(question=f"What happens in the {media.kind}?", answer=CAPTION, phrases=phrases, task="describe")
        return Example(id=name, source=name, media=media, objects=objects, turns=(turn,))


class Json(InMemory):
    """One example again and again, read from its JSON each time, as from a file."""

    def __init__(self, name: str, example: Example, root: Path):
        super().__init__(name, [to_dict(example)], root)

    def __getitem__(self, index: int) -> Example:
        return from_dict(self.records[index])


def mixtures(media: Files) -> dict[str, list[Part]]:
    """What the tiny model may be trained on: its own benchmark as a built data set holds it, or made when asked for."""
    stored = [synthetic_example("train", 0, i) for i in range(16)]
    return {
        "stored 96 px clips": [Part(InMemory("stored", stored))],
        "96 px clips made on the fly": [Part(MovingThings())],
        "480p files": media.parts(),
    }


def stages(media: Files, cfg: VideoGlammConfig, tokenizer: Tokenizer, examples: int, supervised: int) -> Iterator[Row]:
    """What each step costs for an example of each kind, the slowest marked, and their sum."""
    lengths = (cfg.video_tokens + 256,)
    data = DataConfig(pack=PackConfig(lengths=lengths, frames=supervised, mask_size=cfg.sam2.image_size // 4))
    for part in media.parts():
        prepare = Prepare([part], cfg, data, tokenizer)
        spent = clocked(prepare, STEPS)
        for number in range(examples + 1):
            if number == 1:  # the first has filled caches
                spent.clear()
            prepare.collate([prepare(Draw(number, 0, 0))])
        slowest = max(spent, key=spent.get)
        for step, name in STEPS.items():
            seconds = spent[step] / examples
            yield Row(name, f"example ({part.source.name})", *_rate(seconds), "<- slowest" if step == slowest else "")
        total = sum(spent.values()) / examples
        yield Row("all steps", f"example ({part.source.name})", *_rate(total), f"slowest: {STEPS[slowest]}")


def clocked(prepare: Prepare, methods: Sequence[str]) -> collections.Counter:
    """Makes `prepare` note the processor time of each of its methods in the counter returned."""
    spent: collections.Counter = collections.Counter()

    def wrapped(name: str, method: Callable) -> Callable:
        def timed(*args):
            start = time.process_time()
            result = method(*args)
            spent[name] += time.process_time() - start
            return result

        return timed

    for name in methods:
        setattr(prepare, name, wrapped(name, getattr(prepare, name)))
    return spent


def decoding(media: Files, runs: int = 7) -> Iterator[Row]:
    """Ours against the bare library, all frames in order; then what opening costs, and the 16 frames of an example."""
    video, count = open_video(media.video), len(media.masks)
    ours, bare = alternating(lambda: list(video.frames()), lambda: bare_video(media.video), runs)
    yield from _against("mp4", ours, bare, count, "PyAV")
    ours, bare = alternating(
        lambda: [read_image(path) for path in media.pictures], lambda: [bare_image(p) for p in media.pictures], runs
    )
    yield from _against("jpeg", ours, bare, len(media.pictures), "Pillow")
    spread = np.linspace(0, count - 1, 16, dtype=np.int64)
    some, opened = alternating(lambda: list(video.frames(spread)), lambda: open_video(media.video), runs)
    note = f"of {count} without a key frame between, all decoded"
    yield Row("decode 16 spread frames of an mp4", "480p frame", *_rate(statistics.median(some) / 16), note)
    yield Row("open and index an mp4", "video", *_rate(statistics.median(opened)))


def alternating(ours: Callable, bare: Callable, runs: int) -> tuple[list[float], list[float]]:
    """Processor seconds of each, measured in turns."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs):
        for program, spent in zip((ours, bare), times):
            start = time.process_time()
            program()
            spent.append(time.process_time() - start)
    return times


def bare_video(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def bare_image(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _against(name: str, ours: list[float], bare: list[float], count: int, library: str) -> Iterator[Row]:
    ratio = statistics.median(a / b for a, b in zip(ours, bare))
    seconds = [statistics.median(times) / count for times in (ours, bare)]
    yield Row(f"decode {name}, ours", "480p frame", *_rate(seconds[0]), f"{ratio:.2f} x bare {library}")
    yield Row(f"decode {name}, bare {library}", "480p frame", *_rate(seconds[1]))


def _rate(seconds: float) -> tuple[float, float]:
    return 1e3 * seconds, 1 / max(seconds, 1e-9)
