"""tfds builder of COCO-Stuff."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class Cocostuff(SourceBuilder):
    SOURCE = "cocostuff"
