"""tfds builder of ActivityNet-Entities."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class AnetEntities(SourceBuilder):
    SOURCE = "anet_entities"
