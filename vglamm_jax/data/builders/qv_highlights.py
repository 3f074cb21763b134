"""tfds builder of QVHighlights."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class QvHighlights(SourceBuilder):
    SOURCE = "qv_highlights"
