"""tfds builder of Ref-YouTube-VOS."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class ReferYoutubeVos(SourceBuilder):
    SOURCE = "refer_youtube_vos"
