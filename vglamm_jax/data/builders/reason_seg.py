"""tfds builder of ReasonSeg."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class ReasonSeg(SourceBuilder):
    SOURCE = "reason_seg"
