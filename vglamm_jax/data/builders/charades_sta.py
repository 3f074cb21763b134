"""tfds builder of Charades-STA."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class CharadesSta(SourceBuilder):
    SOURCE = "charades_sta"
