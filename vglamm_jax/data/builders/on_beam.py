"""Records read by tasks of Apache Beam, for data sets that take many machines. Only this module needs Beam."""

import json

import apache_beam as beam

from vglamm_jax.data.builders.reading import Reading
from vglamm_jax.data.builders.report import as_dict
from vglamm_jax.data.builders.stored import Stored
from vglamm_jax.data.builders.tfds_builder import encoded

_BAD = "bad"


class ReadPart(beam.DoFn):
    """Part k of a reading: (id, features) of each example, and bad records apart, as JSON."""

    def __init__(self, reading: Reading, parts: int, strict: bool):
        self.reading, self.parts, self.strict = reading, parts, strict

    def process(self, part: int):
        for record in self.reading.records((part, self.parts)):
            if isinstance(record, Stored):
                yield record.id, encoded(record)
            elif self.strict:
                raise record
            else:
                yield beam.pvalue.TaggedOutput(_BAD, json.dumps(as_dict(record)))


def written(reading: Reading, parts: int, bad_file: str, strict: bool) -> beam.PTransform:
    """What tfds writes. Every machine must see the same root folder; `bad_file` gets a line for each bad record."""

    @beam.ptransform_fn
    def read_all(pipeline):
        read = beam.ParDo(ReadPart(reading, parts, strict)).with_outputs(_BAD, main="good")
        found = pipeline | "Parts" >> beam.Create(range(parts)) | "Spread" >> beam.Reshuffle() | "Read" >> read
        _ = found[_BAD] | "BadRecords" >> beam.io.WriteToText(bad_file, num_shards=1, shard_name_template="")
        return found["good"]

    return read_all()
