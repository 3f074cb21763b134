"""tfds builder of grounded video QA."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class GroundedVideoQa(SourceBuilder):
    SOURCE = "grounded_video_qa"
