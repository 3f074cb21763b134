"""tfds builder of HC-STVG's boxes."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class HcstvgGrounding(SourceBuilder):
    SOURCE = "hcstvg_grounding"
