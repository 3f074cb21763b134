"""tfds builder of LLaVA-Instruct-150K."""

from vglamm_jax.data.builders.tfds_builder import SourceBuilder


class LlavaInstruct(SourceBuilder):
    SOURCE = "llava_instruct"
