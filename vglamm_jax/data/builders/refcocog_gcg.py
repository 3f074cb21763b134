"""tfds builder of GranD-f's captions of RefCOCOg."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class RefcocogGcg(SourceBuilder):
    SOURCE = "refcocog_gcg"
