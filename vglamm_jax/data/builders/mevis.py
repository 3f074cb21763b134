"""tfds builder of MeViS."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class Mevis(SourceBuilder):
    SOURCE = "mevis"
