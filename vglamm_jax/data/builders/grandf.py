"""tfds builders of GranD-f's captions by people and of OpenPSG."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class Grandf(SourceBuilder):
    SOURCE = "grandf"


class OpenpsgGcg(SourceBuilder):
    SOURCE = "openpsg_gcg"
