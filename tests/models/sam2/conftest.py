"""transformers' SAM2 with random parameters at toy sizes, and ours filled from it."""

from collections.abc import Callable

import numpy as np
import pytest
from sam2_reference import filled, hf_parts, randomise

from vglamm_jax.config import Sam2Config


@pytest.fixture(scope="session")
def build() -> Callable:
    """`build(cfg)` -> (transformers' Sam2VideoModel, ours with the same parameters)."""
    pytest.importorskip("torch", reason="compares with transformers' PyTorch model")
    transformers = pytest.importorskip("transformers")
    made = {}

    def build(cfg: Sam2Config):
        if cfg not in made:
            config = transformers.Sam2VideoConfig(
                **hf_parts(cfg),
                image_size=cfg.image_size,
                memory_attention_num_layers=cfg.memory_attention_depth,
                memory_attention_feed_forward_hidden_size=cfg.memory_attention_mlp,
                memory_attention_rope_feat_sizes=[cfg.grid, cfg.grid],
                memory_fuser_num_layers=cfg.memory_fuser_depth,
                num_maskmem=cfg.num_memories,
                max_object_pointers_in_encoder=cfg.num_pointers,
                enable_occlusion_spatial_embedding=cfg.no_object_memory,
                enable_temporal_pos_encoding_for_object_pointers=cfg.pointer_time,
            )
            model = transformers.Sam2VideoModel(config).eval()
            randomise(model)
            made[cfg] = model, filled(cfg, model)
        return made[cfg]

    return build


@pytest.fixture(scope="session")
def build_image(build) -> Callable:
    """`build_image(cfg)` -> (transformers' Sam2Model, ours with the same parameters)."""
    import transformers

    def build_image(cfg: Sam2Config):
        video, ours = build(cfg)
        model = transformers.Sam2Model(transformers.Sam2Config(**hf_parts(cfg))).eval()
        names = model.state_dict().keys()
        model.load_state_dict({name: value for name, value in video.state_dict().items() if name in names})
        return model, ours

    return build_image


@pytest.fixture(scope="session")
def frames() -> Callable:
    """`frames(n, side)` -> smooth moving images [n, side, side, 3], float32, the same every time."""

    def frames(count: int, side: int) -> np.ndarray:
        time = np.arange(count)[:, None, None, None] * 0.3
        y, x = (
            np.linspace(0, 6, side)[shape]
            for shape in ((None, slice(None), None, None), (None, None, slice(None), None))
        )
        channels = np.arange(3) + 1.0
        return (np.sin(x * channels + time) + np.cos(y * (4 - channels) - 0.5 * time)).astype(np.float32)

    return frames
