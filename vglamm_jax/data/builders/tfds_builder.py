"""The one tfds builder behind all sources. It needs no TensorFlow: frames are bytes, masks run lengths in the JSON."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from vglamm_jax.data.builders.build import VERSION
from vglamm_jax.data.builders.reading import Reading, records
from vglamm_jax.data.builders.stored import AS_USUAL, Storage, Stored
from vglamm_jax.data.schema import SCHEMA, BadRecord
from vglamm_jax.data.sources.own import DataError
from vglamm_jax.data.sources.registry import SOURCES

FIELDS = {"example": tfds.features.Text(), "frames": tfds.features.Sequence(tfds.features.Text())}


@dataclasses.dataclass(eq=False)
class BuildConfig(tfds.core.BuilderConfig):
    """What a build is asked for; `name` is the split, so that each split is a data set complete in itself.

    parts: readers that work side by side: processes here, or tasks on Beam.
    beam: where bad records are written when Beam reads; None without Beam.
    """

    storage: Storage = AS_USUAL
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    strict: bool = False
    parts: int = 1
    beam: str | None = None


class SourceBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Writes the examples of `SOURCE`; the root folder is tfds' `manual_dir`.

    Attributes:
        bad: records left out, after `download_and_prepare` (without Beam).
        on_record: called with the number of records read so far.
    """

    VERSION = tfds.core.Version(VERSION)
    RELEASE_NOTES: ClassVar = {str(VERSION): SCHEMA}
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Give the root folder of the data set (the original's dataset_dir) as manual_dir."
    url_infos: ClassVar = None  # nothing is downloaded; to look for a list wants a package tfds does not bring
    SOURCE = ""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.bad: list[BadRecord] = []
        self.on_record = lambda count: None

    def _info(self) -> tfds.core.DatasetInfo:
        about = f"{SOURCES[self.SOURCE].about}; the text of `example` is JSON of {SCHEMA}"
        return tfds.core.DatasetInfo(builder=self, description=about, features=tfds.features.FeaturesDict(FIELDS))

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        return {self.builder_config.name: self._generate_examples(Path(dl_manager.manual_dir))}

    def _generate_examples(self, root: Path):
        config = self.builder_config
        reading = Reading(self.SOURCE, root, config.name, config.storage, config.options)
        if config.beam is None:
            return self._written_here(reading)
        from vglamm_jax.data.builders.on_beam import written

        return written(reading, config.parts, config.beam, config.strict)

    def _written_here(self, reading: Reading) -> Iterator[tuple[str, dict]]:
        """Raises BadRecord when strict, DataError when nothing is left."""
        seen: set[str] = set()
        for count, record in enumerate(records(reading, self.builder_config.parts), 1):
            self.on_record(count)
            if isinstance(record, Stored) and record.id in seen:
                record = BadRecord(reading.source, record.id, "an example of this id is there before")
            if isinstance(record, Stored):
                seen.add(record.id)
                yield record.id, encoded(record)
            elif self.builder_config.strict:
                raise record
            else:
                self.bad.append(record)
        if not seen:
            why = f"; the first of {len(self.bad)} bad records: {self.bad[0]}" if self.bad else ""
            raise DataError(f"{reading.source} has no usable example in its split {reading.split!r}{why}")


def encoded(record: Stored) -> dict:
    return {"example": record.text, "frames": record.frames}
