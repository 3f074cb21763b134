"""tfds builder of VidSTG's boxes."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class VidstgGrounding(SourceBuilder):
    SOURCE = "vidstg_grounding"
