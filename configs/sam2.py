"""Published SAM2 and SAM2.1 models: `sam2:tiny`, `small`, `base_plus`, `large`, and `sam2:2.1-tiny` etc."""

from vglamm_jax.config import HieraConfig, Sam2Config

HIERA = {
    "tiny": HieraConfig(width=96, heads=1, stages=(1, 2, 7, 2), windows=(8, 4, 14, 7), global_blocks=(5, 7, 9)),
    "small": HieraConfig(width=96, heads=1, stages=(1, 2, 11, 2), windows=(8, 4, 14, 7), global_blocks=(7, 10, 13)),
    "base_plus": HieraConfig(
        width=112,
        heads=2,
        stages=(2, 3, 16, 3),
        windows=(8, 4, 14, 7),
        global_blocks=(12, 16, 20),
        pos_embed_grid=(14, 14),
    ),
    "large": HieraConfig(width=144, heads=2, stages=(2, 6, 36, 4), windows=(8, 4, 16, 8), global_blocks=(23, 33, 43)),
}


def get_config(name: str = "large") -> Sam2Config:
    """Raises ValueError for an unknown name."""
    size = name.removeprefix("2.1-")
    if size not in HIERA:
        raise ValueError(f"no SAM2 model {name!r}: use {', '.join(HIERA)}, or one of them after '2.1-'")
    newer = name != size
    return Sam2Config(image_size=1024, hiera=HIERA[size], no_object_memory=newer, pointer_time=newer)
