"""tfds builder of BURST's and YouTube-VIS' grounded captions."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class VideoGcg(SourceBuilder):
    SOURCE = "video_gcg"
