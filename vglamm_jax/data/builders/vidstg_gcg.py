"""tfds builder of VidSTG's grounded captions."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class VidstgGcg(SourceBuilder):
    SOURCE = "vidstg_gcg"
