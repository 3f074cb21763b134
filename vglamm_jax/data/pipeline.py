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
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from vglamm_jax.config import VideoGlammConfig, config
from vglamm_jax.data import augment, frames, hints, masks, mixture
from vglamm_jax.data import conversation as talk
from vglamm_jax.data.augment import AugmentConfig
from vglamm_jax.data.bad_records import CAUSES, BadRecords, as_bad_record, checked, mask_of_object
from vglamm_jax.data.conversation import ConversationRule, Exchange
from vglamm_jax.data.frames import Frames
from vglamm_jax.data.media import Video, VideoError
from vglamm_jax.data.mixture import Draw, Part, Source
from vglamm_jax.data.open_media import decoded_frames, open_media, window
from vglamm_jax.data.pack import Batch, PackConfig, collate, lengthened, pack
from vglamm_jax.data.prompts import Protocol
from vglamm_jax.data.schema import BadRecord, Example
from vglamm_jax.data.sources.own import DataError
from vglamm_jax.data.tokenizer import SEG

Said = Sequence[Exchange]
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


def for_evaluation(data: DataConfig) -> DataConfig:
    """The same without anything drawn: no augmentation, texts as they are written."""
    as_written = dataclasses.replace(data.conversation, wording="as_written")
    return dataclasses.replace(data, augment=None, conversation=as_written)


class Prepared(NamedTuple):
    """A row or a batch, and the records that were passed over on the way."""

    arrays: Batch
    bad: tuple[BadRecord, ...]


class Prepare:
    """Draw -> row. A pure function of the draw; grain calls it in threads."""

    def __init__(self, parts: Sequence[Part], cfg: VideoGlammConfig, data: DataConfig, tokenizer):
        """Raises ValueError where the config contradicts itself or the tokenizer."""
        self.parts, self.cfg, self.data, self.tokenizer = list(parts), cfg, data, tokenizer
        if data.conversation.max_objects > data.pack.slots:
            raise ValueError(
                f"conversations of {data.conversation.max_objects} objects do not fit {data.pack.slots} mask slots: "
                "raise pack.slots or lower conversation.max_objects"
            )
        if tokenizer.convert_tokens_to_ids(SEG) != cfg.seg_token_id:
            raise ValueError(
                f"the tokenizer's {SEG} is {tokenizer.convert_tokens_to_ids(SEG)}, but the config's seg_token_id is "
                f"{cfg.seg_token_id}: use the tokenizer of the checkpoint"
            )

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
        """One record as a row of a batch: every step of the pipeline is a method, in this order."""
        example, pictures = self.read(part.source, record)
        try:
            said = self.said(example, rng)
            video = self.opened(part.source, example, pictures)
            chosen, known = self.chosen(part, example, said, video, rng)
            target = self.targets(example, said, chosen)
            said, chosen, plan, target = self.augmented(example, said, chosen, target, rng)
            said, tokens = self.tokenised(example, said, video, chosen)
            pixels = self.decoded(video, chosen)
            pixels, target, ignored = self.changed(plan, pixels, target, hints.ignored_pixels(example))
        except CAUSES as error:
            raise as_bad_record(error, example.source, example.id) from error
        return self.packed(example, said, tokens, chosen, pixels, target, ignored, known, number)

    def read(self, source: Source, record: int) -> tuple[Example, np.ndarray | None]:
        """An example that makes sense, and its frames if they are in memory."""
        found = source[record]
        example, pictures = found if isinstance(found, tuple) else (found, None)
        limit = self.data.conversation.max_objects if self.data.conversation.too_many == "skip" else None
        return checked(example, limit, pictures is not None), pictures

    def said(self, example: Example, rng: np.random.Generator) -> Said:
        return talk.exchanges(example, rng, self.data.conversation)

    def opened(self, source: Source, example: Example, pictures: np.ndarray | None) -> Video:
        """The frames of an example, in memory or in its files; none is decoded yet."""
        name = f"{example.source}: {example.id}"
        if pictures is None:
            return open_media(example.media, getattr(source, "root", "."), name)
        return decoded_frames(example.media, pictures, name)

    def chosen(self, part: Part, example: Example, said: Said, video: Video, rng) -> tuple[Frames, list[frames.Slot]]:
        """Which frames are seen and supervised, and what is known of each mask."""
        known = frames.slots(example, talk.objects_of(said))
        rule = frames.rule_for(example, part.frames)
        meant = hints.shown(example, window(example.media, video), video.timestamps)
        if not len(meant):
            raise VideoError(f"{video.path}: every frame lies in meta.ignored_windows")
        return frames.choose(rule, meant, video.fps, known, self.cfg.frames, self.data.pack.frames, rng), known

    def targets(self, example: Example, said: Said, chosen: Frames) -> np.ndarray:
        """bool [n, K, H, W], the mask of each [SEG] that has a slot; empty in frames where it is not annotated."""
        objects, size = talk.objects_of(said)[: self.data.pack.slots], example.media.size
        out = np.zeros((len(objects), self.data.pack.frames, *size), bool)
        for row, ids in zip(out, objects):
            for picture, frame in zip(row, chosen.supervised.tolist()):
                rle = masks.union(mask_of_object(example.object(id), frame, size) for id in ids)
                if rle is not None:
                    picture[:] = masks.decode(rle)
        return out

    def augmented(self, example: Example, said: Said, chosen: Frames, target: np.ndarray, rng):
        """(exchanges, frames, plan, masks): what changes, and what of it concerns words and order."""
        if self.data.augment is None:
            return said, chosen, augment.NOTHING, target
        said, plan = augment.choose(said, target, self.data.augment, rng, example.media.kind == "video")
        if plan.reverse:
            chosen, target = frames.reversed_in_time(chosen), target[:, ::-1]
        return said, chosen, plan, target

    def tokenised(self, example: Example, said: Said, video: Video, chosen: Frames) -> tuple[Said, talk.Tokens]:
        said = talk.with_times(said, video.timestamps[chosen.seen])
        longest = self.data.pack.lengths[-1]
        return talk.fitting(said, longest, example.media.kind, self.tokenizer, self.cfg, self.data.protocol)

    def decoded(self, video: Video, chosen: Frames) -> dict[int, np.ndarray]:
        """Frame number -> uint8 [H, W, 3], each decoded once."""
        wanted = np.unique(np.concatenate(chosen))
        return dict(zip(wanted.tolist(), video.frames(wanted)))

    def changed(self, plan: augment.Plan, pixels: dict[int, np.ndarray], target: np.ndarray, ignored=None):
        """Frames, masks and ignored pixels after augmentation, the latter two at their size in the batch."""
        size = (self.data.pack.mask_size,) * 2
        pixels = dict(zip(pixels, augment.apply(plan, list(pixels.values()))))
        target = augment.apply_to_masks(plan, target, size)
        return pixels, target, None if ignored is None else augment.apply_to_masks(plan, ignored, size)

    def packed(self, example, said, tokens, chosen, pixels, target, ignored, known, number) -> Batch:
        count = len(talk.objects_of(said))  # exchanges that did not fit took theirs along
        annotated = [[frame in slot.annotated for frame in chosen.supervised.tolist()] for slot in known[:count]]
        return pack(
            tokens,
            [pixels[i] for i in chosen.seen.tolist()],
            [pixels[i] for i in chosen.supervised.tolist()],
            target[:count],
            np.array(annotated, bool).reshape(-1, self.data.pack.frames),
            example.media.kind == "video",
            number,
            self.cfg,
            self.data.pack,
            ignored,
        )

    def collate(self, rows: Sequence[Prepared]) -> Prepared:
        arrays = collate([row.arrays for row in rows], self.data.pack.lengths, self.cfg.pad_token_id)
        return Prepared(arrays, tuple(record for row in rows for record in row.bad))


class Batches(Iterator[Batch]):
    """This process's rows of one batch after another, without end.

    Attributes:
        step: number of the next batch; the whole state.
        identity: what tells this stream from another one, see `mixture.identity`.
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
        rows: Sequence[int] | None = None,
        agree: Callable[[int], int] | None = None,
    ):
        """`batch_size` counts the rows of all processes; `rows` are this one's, if not an equal share by its number.

        `agree` turns the length of this process's batch into the longest of all processes; it is needed when there are
        several of both processes and allowed lengths.

        Raises:
            ValueError: what `mixture.draws` and `mixture.batches` say, or `agree` is missing.
        """
        several = processes > 1 if rows is None else len(rows) < batch_size
        if several and len(data.pack.lengths) > 1 and agree is None:
            raise ValueError(
                f"several processes may choose different ones of the lengths {data.pack.lengths}: "
                "give `agree`, the largest length over all processes, or a single length"
            )
        prepare = Prepare(parts, cfg, data, tokenizer)
        stream = mixture.draws(parts, data.seed)
        self.dataset = mixture.batches(stream, prepare, prepare.collate, batch_size, process, processes, rows)
        self.parts, self.data, self.pad_id, self.agree = list(parts), data, cfg.pad_token_id, agree
        self.bad = BadRecords()
        self.seek(step)

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        return mixture.identity(self.parts, self.data.seed)

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
