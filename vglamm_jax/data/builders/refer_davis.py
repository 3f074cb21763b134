"""tfds builder of Ref-DAVIS17."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class ReferDavis(SourceBuilder):
    SOURCE = "refer_davis"
