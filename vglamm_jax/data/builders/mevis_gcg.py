"""tfds builder of MeViS' grounded captions."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class MevisGcg(SourceBuilder):
    SOURCE = "mevis_gcg"
