"""tfds builder of ActivityNet-Entities' grounded captions."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class AnetGcg(SourceBuilder):
    SOURCE = "anet_gcg"
