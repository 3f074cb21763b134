"""tfds builder of PACO-LVIS."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class PacoLvis(SourceBuilder):
    SOURCE = "paco_lvis"
