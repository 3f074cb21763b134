"""tfds builder of VideoInstruct100K."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class VideoInstruct(SourceBuilder):
    SOURCE = "video_instruct"
