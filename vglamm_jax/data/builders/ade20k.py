"""tfds builder of ADE20K."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class Ade20k(SourceBuilder):
    SOURCE = "ade20k"
