"""tfds builder of ActivityNet-Captions."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class ActivitynetCaptions(SourceBuilder):
    SOURCE = "activitynet_captions"
