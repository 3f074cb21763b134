"""What several model tests share: the original's tiny InternVideo2 run on the golden video."""

import cv2
import jax
import numpy as np
import pytest

from vglamm_jax.config import InternVideo2Config
from vglamm_jax.models import layers
from vglamm_jax.models.internvideo2 import InternVideo2


@pytest.fixture(scope="session")
def golden_internvideo2(golden) -> tuple[InternVideo2, np.ndarray, np.ndarray]:
    """The model, clips [4, 4, 224, 224, 3] and features [4, 1025, 176] of six frames, the last repeated up to 16."""
    pytest.importorskip("torch", reason="the original's weights are a PyTorch file")
    from vglamm_jax.convert import engine, tables
    from vglamm_jax.convert.torch_io import open_tensors

    cfg = InternVideo2Config(image_size=224, patch_size=14, frames=4, width=176, depth=3, heads=8, mlp_width=768)
    part = engine.Part(tables.internvideo2(cfg), open_tensors(golden / "internvideo2.pt"), ignored=[""])
    model = engine.fill(layers.abstract(InternVideo2, cfg), part)
    clips = _clips(golden)
    return model, clips, np.asarray(jax.jit(lambda model, x: model(x))(model, clips))


def _clips(golden) -> np.ndarray:
    """Facts 3.3, stated here a second time."""
    frames = np.load(golden / "inputs.npz")["frames"]
    small = np.stack([cv2.resize(frame, (224, 224)) for frame in frames])
    pixels = (small / 255.0 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    given = np.load(golden / "preprocessed.npz")["video_224_f0f5"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(pixels[[0, 5]], given, atol=1e-5)
    return pixels[np.minimum(np.arange(16), 5)].reshape(4, 4, 224, 224, 3).astype(np.float32)
