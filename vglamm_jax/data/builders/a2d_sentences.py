"""tfds builder of A2D-Sentences."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class A2dSentences(SourceBuilder):
    SOURCE = "a2d_sentences"
