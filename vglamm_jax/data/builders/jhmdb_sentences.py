"""tfds builder of JHMDB-Sentences."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class JhmdbSentences(SourceBuilder):
    SOURCE = "jhmdb_sentences"
