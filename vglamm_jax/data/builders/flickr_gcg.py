"""tfds builder of GranD-f's captions of Flickr30k."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class FlickrGcg(SourceBuilder):
    SOURCE = "flickr_gcg"
