"""From sources to batches: read, choose, decode, augment, tokenise, pack; read `Prepare.row` first.

    stream = Batches(parts, cfg, DataConfig(...), tokenizer)
    for batch in stream: ...              # data.pack.Batch
    stream.step                           # all there is to save
    Batches(..., step=saved)              # goes on there, on any number of processes
    stream.bad.report()                   # what was passed over

A record that cannot be used is replaced by a random one of its source, drawn from (seed, number of the draw), so that
the replacement does not depend on who prepares it.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from vglamm_jax.config import VideoGlammConfig, config
from vglamm_jax.data import augment, frames, masks, mixture
from vglamm_jax.data import conversation as talk
from vglamm_jax.data.augment import AugmentConfig
from vglamm_jax.data.bad_records import CAUSES, BadRecords, DataError, as_bad_record, checked
from vglamm_jax.data.conversation import ConversationRule
from vglamm_jax.data.media import Video
from vglamm_jax.data.mixture import Draw, Part, Source
from vglamm_jax.data.open_media import decoded_frames, open_media, window
from vglamm_jax.data.pack import Batch, PackConfig, collate, lengthened, pack
from vglamm_jax.data.prompts import Protocol
from vglamm_jax.data.schema import BadRecord, Example

ATTEMPTS = 50  # bad records in a row after which a source is given up


@config
class DataConfig:
    """One experiment's data, but for the sources.

    augment: None for none. strict: the first bad record stops the run. threads prepare `ahead` batches at most.
    """

    pack: PackConfig
    conversation: ConversationRule = dataclasses.field(default_factory=ConversationRule)
    augment: AugmentConfig | None = dataclasses.field(default_factory=AugmentConfig)
    protocol: Protocol = "default"
    strict: bool = False
    seed: int = 0
    threads: int = 2
    ahead: int = 4


class Prepared(NamedTuple):
    """A row or a batch, and the records that were passed over on the way."""

    arrays: Batch
    bad: tuple[BadRecord, ...]


class Prepare:
    """Draw -> row. A pure function of the draw; grain calls it in threads."""

    def __init__(self, parts: Sequence[Part], cfg: VideoGlammConfig, data: DataConfig, tokenizer):
        self.parts, self.cfg, self.data, self.tokenizer = list(parts), cfg, data, tokenizer

    def __call__(self, draw: Draw) -> Prepared:
        """Raises DataError when nothing of the source can be used, BadRecord with `strict`."""
        part, bad = self.parts[draw.part], []
        for attempt in range(ATTEMPTS):
            rng = np.random.default_rng((self.data.seed, draw.number, attempt))
            record = draw.record if attempt == 0 else int(rng.integers(len(part.source)))
            try:
                return Prepared(self.row(part, record, draw.number, rng), tuple(bad))
            except CAUSES as error:
                bad.append(as_bad_record(error, part.source, f"record {record}"))
                if self.data.strict:
                    raise bad[-1] from error
        raise DataError(f"{part.source}: {ATTEMPTS} records in a row cannot be used; the last one: {bad[-1]}")

    def row(self, part: Part, record: int, number: int, rng: np.random.Generator) -> Batch:
        """One record as a row of a batch."""
        example, pictures = self.read(part.source, record)
        try:
            said = talk.exchanges(example, rng, self.data.conversation)
            video = opened(part.source, example, pictures)
            chosen, known = self.choose(part, example, said, video, rng)
            target = target_masks(example, talk.objects_of(said), chosen.supervised)[: self.data.pack.slots]
            said, chosen, plan, target = self.augmented(example, said, chosen, target, rng)
            said, tokens = self.tokenised(example, said, video, chosen)
            seen, sam = decoded(video, chosen, plan)
        except CAUSES as error:
            raise as_bad_record(error, example.source, example.id) from error
        size = self.data.pack.mask_size
        count = len(talk.objects_of(said))
        return pack(
            tokens,
            seen,
            sam,
            augment.apply_to_masks(plan, target[:count], (size, size)),
            annotated(known[:count], chosen.supervised)[: self.data.pack.slots],
            example.media.kind == "video",
            number,
            self.cfg,
            self.data.pack,
        )

    def read(self, source: Source, record: int) -> tuple[Example, np.ndarray | None]:
        """An example that makes sense, and its frames if they are in memory."""
        found = source[record]
        example, pictures = found if isinstance(found, tuple) else (found, None)
        limit = self.data.pack.slots if self.data.conversation.too_many == "skip" else None
        return checked(example, limit, pictures is not None), pictures

    def choose(self, part, example, said, video, rng) -> tuple[frames.Frames, list[frames.Slot]]:
        known = frames.slots(example, talk.objects_of(said))
        meant, sizes = window(example.media, video), self.data.pack
        rule = frames.rule_for(example, part.frames)
        return frames.choose(rule, meant, video.fps, known, self.cfg.frames, sizes.frames, rng), known

    def augmented(self, example, said, chosen, target, rng):
        """(exchanges, frames, plan, masks), all after augmentation but for the pixels."""
        if self.data.augment is None:
            return said, chosen, augment.NOTHING, target
        moving = example.media.kind == "video"
        said, plan = augment.choose(said, target, self.data.augment, rng, moving)
        if plan.reverse:
            chosen, target = frames.reversed_in_time(chosen), target[:, ::-1]
        return said, chosen, plan, target

    def tokenised(self, example, said, video, chosen):
        said = talk.with_times(said, video.timestamps[chosen.seen])
        longest = self.data.pack.lengths[-1]
        return talk.fitting(said, longest, example.media.kind, self.tokenizer, self.cfg, self.data.protocol)

    def collate(self, rows: Sequence[Prepared]) -> Prepared:
        arrays = collate([row.arrays for row in rows], self.data.pack.lengths, self.cfg.pad_token_id)
        return Prepared(arrays, tuple(record for row in rows for record in row.bad))


class Batches(Iterator[Batch]):
    """This process's rows of one batch after another, without end.

    Attributes:
        step: number of the next batch; the whole state.
        bad: the account of the records passed over in the batches given out.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        cfg: VideoGlammConfig,
        data: DataConfig,
        tokenizer,
        batch_size: int,
        *,
        step: int = 0,
        process: int = 0,
        processes: int = 1,
        agree: Callable[[int], int] | None = None,
    ):
        """`batch_size` counts the rows of all processes.

        `agree` turns the length of this process's batch into the longest of all processes; it is needed when there are
        several of both processes and allowed lengths.

        Raises:
            ValueError: what `mixture.draws` and `mixture.batches` say, or `agree` is missing.
        """
        if processes > 1 and len(data.pack.lengths) > 1 and agree is None:
            raise ValueError(
                f"{processes} processes may choose different ones of the lengths {data.pack.lengths}: "
                "give `agree`, the largest length over all processes, or a single length"
            )
        prepare = Prepare(parts, cfg, data, tokenizer)
        stream = mixture.draws(parts, data.seed)
        self.dataset = mixture.batches(stream, prepare, prepare.collate, batch_size, process, processes)
        self.data, self.pad_id, self.agree = data, cfg.pad_token_id, agree
        self.fingerprint = mixture.fingerprint(parts, data.seed)
        self.bad = BadRecords()
        self.seek(step)

    def seek(self, step: int) -> None:
        """Goes on with batch `step`."""
        self.close()
        self.step = step
        self._batches = mixture.iterate(self.dataset, step, self.data.threads, self.data.ahead)

    def __next__(self) -> Batch:
        arrays, bad = next(self._batches)
        self.bad.add(bad)
        self.step += 1
        if self.agree is None:
            return arrays
        return lengthened(arrays, self.agree(arrays.ids.shape[-1]), self.pad_id)

    def close(self) -> None:
        """Stops the threads."""
        if hasattr(self, "_batches"):
            self._batches.close()


def opened(source: Source, example: Example, pictures: np.ndarray | None = None) -> Video:
    """The frames of an example, in memory or in its files."""
    name = f"{example.source}: {example.id}"
    if pictures is None:
        return open_media(example.media, getattr(source, "root", "."), name)
    return decoded_frames(example.media, pictures, name)


def target_masks(example: Example, objects: Sequence[Sequence[str]], wanted: np.ndarray) -> np.ndarray:
    """bool [n, K, H, W], the mask of each [SEG] in each frame; empty where it is not annotated."""
    out = np.zeros((len(objects), len(wanted), *example.media.size), bool)
    for row, ids in zip(out, objects):
        for picture, frame in zip(row, wanted.tolist()):
            rle = masks.union(example.object(id).masks.get(frame) for id in ids)
            if rle is not None:
                picture[:] = masks.decode(rle)
    return out


def annotated(known: Sequence[frames.Slot], wanted: np.ndarray) -> np.ndarray:
    """bool [n, K]"""
    found = [[frame in slot.annotated for frame in wanted.tolist()] for slot in known]
    return np.array(found, bool).reshape(len(known), len(wanted))


def decoded(video: Video, chosen: frames.Frames, plan: augment.Plan) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Frames for the encoders and for the mask decoder, each decoded once, then augmented."""
    wanted = np.unique(np.concatenate(chosen))
    pixels = augment.apply(plan, list(video.frames(wanted)))
    by_number = dict(zip(wanted.tolist(), pixels))
    return [by_number[i] for i in chosen.seen.tolist()], [by_number[i] for i in chosen.supervised.tolist()]
