"""tfds builder of anybody's own data."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class Own(SourceBuilder):
    SOURCE = "own"
