"""tfds builder of HC-STVG's grounded captions."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class HcstvgGcg(SourceBuilder):
    SOURCE = "hcstvg_gcg"
