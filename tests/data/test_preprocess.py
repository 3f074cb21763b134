"""Pixels against the original's own arrays, and mask logits against torch."""

import numpy as np
import pytest

from vglamm_jax.data import preprocess


def relative_error(ours, theirs):
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def channels_first(pixels):
    return np.moveaxis(pixels, -1, -3)


@pytest.fixture(scope="module")
def frames(golden):
    return np.load(golden / "inputs.npz")["frames"]


@pytest.fixture(scope="module")
def expected(golden):
    return np.load(golden / "preprocessed.npz")


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (2, 37, 53, 3), np.uint8)


def test_clip_equals_the_original(frames, expected):
    ours = channels_first(preprocess.clip_pixels(frames[[0, 5]], 336))
    assert relative_error(ours, expected["clip_336_f0f5"]) < 1e-6


def test_internvideo2_equals_the_original(frames, expected):
    ours = channels_first(preprocess.internvideo2_pixels(frames[[0, 5]], 224))
    assert relative_error(ours, expected["video_224_f0f5"]) < 1e-6


def test_sam2_equals_the_original(frames, expected):
    ours = channels_first(preprocess.sam2_pixels(frames[[0, 5]], 1024))
    assert relative_error(ours[0][:, ::4, ::4], expected["sam_1024_f0_s4"]) < 1e-6
    assert relative_error(ours[1][:, 500:503], expected["sam_1024_rows"]) < 1e-6


@pytest.mark.parametrize(
    ("size", "scaled"),
    [((480, 854), (576, 1024)), ((224, 373), (615, 1024)), ((640, 360), (1024, 576)), ((333, 500), (682, 1024))],
)
def test_longest_side(size, scaled):
    assert preprocess.longest_side(size, 1024) == scaled


@pytest.mark.parametrize("size", [8, 56, 61])
def test_every_encoder_takes_any_size_and_orientation(noise, size):
    for pixels in (noise, noise.transpose(0, 2, 1, 3)):
        for encoder in (preprocess.clip_pixels, preprocess.internvideo2_pixels, preprocess.sam2_pixels):
            out = encoder(pixels, size)
            assert out.shape == (2, size, size, 3)
            assert out.dtype == np.float32


def test_clip_loses_the_sides_of_a_wide_frame():
    frame = np.zeros((40, 120, 3), np.uint8)
    frame[:, :30] = frame[:, 90:] = 255
    assert np.ptp(preprocess.clip_pixels([frame], 40)[..., 0]) < 1e-6
    assert np.ptp(preprocess.internvideo2_pixels([frame], 40)[..., 0]) > 1


@pytest.mark.parametrize("size", [(480, 854), (854, 480), (97, 301), (255, 2), (64, 64)])
def test_mask_logits_equal_torch(size):
    torch = pytest.importorskip("torch", reason="the reference for bilinear resizing")
    logits = np.random.default_rng(1).normal(size=(3, 64, 64)).astype(np.float32) * 8
    theirs = torch.nn.functional.interpolate(torch.from_numpy(logits)[None], size, mode="bilinear")[0].numpy()
    ours = preprocess.resize_logits(logits, size)
    assert relative_error(ours, theirs) < 1e-4
    masks = preprocess.masks_from_logits(logits, size)
    assert masks.dtype == bool
    assert (masks & (theirs > 0)).sum() / (masks | (theirs > 0)).sum() > 0.9999


@pytest.mark.parametrize("size", [(90, 61), (61, 90)])
def test_sam2_stretch_equals_torch(size):
    torch = pytest.importorskip("torch", reason="the reference for bilinear resizing")
    frame = np.random.default_rng(2).integers(0, 256, (*size, 3), np.uint8)
    ours = preprocess.sam2_frame(frame, 256)
    resized = np.asarray(
        preprocess.Image.fromarray(frame).resize(
            preprocess.longest_side(size, 256)[::-1], preprocess.Image.Resampling.BILINEAR
        ),
        np.float32,
    )
    normal = (resized - np.float32(preprocess.SAM2_MEAN)) / np.float32(preprocess.SAM2_STD)
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(normal).permute(2, 0, 1)[None], (256, 256), mode="bilinear"
    )
    assert relative_error(ours, theirs[0].permute(1, 2, 0).numpy()) < 1e-4
