"""tfds builder of PASCAL-Part."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class PascalPart(SourceBuilder):
    SOURCE = "pascal_part"
