"""tfds builders of RefCLEF, RefCOCO, RefCOCO+, RefCOCOg and gRefCOCO."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class Refclef(SourceBuilder):
    SOURCE = "refclef"


class Refcoco(SourceBuilder):
    SOURCE = "refcoco"


class RefcocoPlus(SourceBuilder):
    SOURCE = "refcoco+"


class Refcocog(SourceBuilder):
    SOURCE = "refcocog"


class Grefcoco(SourceBuilder):
    SOURCE = "grefcoco"
