"""tfds builder of VidSTG."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class Vidstg(SourceBuilder):
    SOURCE = "vidstg"
