"""tfds builder of Mapillary Vistas."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class Mapillary(SourceBuilder):
    SOURCE = "mapillary"
