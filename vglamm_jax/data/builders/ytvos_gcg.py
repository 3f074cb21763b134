"""tfds builder of YouTube-VOS' grounded captions."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class YtvosGcg(SourceBuilder):
    SOURCE = "ytvos_gcg"
