"""Rows of static shape, images and videos in one batch."""

import dataclasses

import numpy as np
import pytest
from tiny_examples import example

from vglamm_jax.config import load_config
from vglamm_jax.data import preprocess
from vglamm_jax.data.conversation import Exchange, tokens
from vglamm_jax.data.pack import Batch, PackConfig, bucket, collate, lengthened, pack
from vglamm_jax.data.prompts import IGNORE
from vglamm_jax.data.tokenizer import load_tokenizer, tiny_tokenizer

SIZES = PackConfig(lengths=(160, 200, 400), frames=2, mask_size=32)
ONE = [Exchange("What?", "A <p> ball </p> [SEG] and <p> a box </p> [SEG].", (("a",), ("b",)))]
LONG = [Exchange("What? " * 20, "A ball [SEG].", (("a",),))]


@pytest.fixture(scope="module")
def cfg():
    return load_config("tiny")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return load_tokenizer(tiny_tokenizer(tmp_path_factory.mktemp("tokenizer")))


def row(cfg, tokenizer, said, count=6, sizes=SIZES, slots=2):
    _, frames = example(count=count)
    kind = "video" if count > 1 else "image"
    masks = np.zeros((slots, sizes.frames, 32, 32), bool)
    masks[:, :, :16] = True
    known = np.ones((slots, sizes.frames), bool)
    known[0, 1] = False
    words = tokens(said, kind, tokenizer, cfg)
    return pack(words, list(frames), [frames[-1]] * sizes.frames, masks, known, count > 1, 7, cfg, sizes)


def test_a_batch_of_a_video_and_an_image(cfg, tokenizer):
    """Every shape that the layout promises, from the config."""
    video, image = row(cfg, tokenizer, ONE), row(cfg, tokenizer, LONG, count=1, slots=1)
    batch = collate([video, image], SIZES.lengths, cfg.pad_token_id)
    length = bucket(max(video.lengths, image.lengths), SIZES.lengths)
    pixels = {"context": cfg.clip.image_size, "clips": cfg.internvideo2.image_size, "sam": cfg.sam2.image_size}
    shapes = {name: (2, cfg.frames, size, size, 3) for name, size in pixels.items()}
    shapes |= {"sam": (2, 2, pixels["sam"], pixels["sam"], 3), "masks": (2, 4, 2, 32, 32)}
    shapes |= dict.fromkeys(("ids", "visual", "labels"), (2, length)) | dict.fromkeys(("lengths", "draw"), (2,))
    shapes |= dict.fromkeys(("seg_positions", "seg_valid"), (2, 4)) | {"is_video": (2,)}
    assert {name: values.shape for name, values in batch._asdict().items()} == shapes
    types = "int32 int32 int32 int32 int32 bool int8 uint8 uint8 uint8 bool int64"
    assert " ".join(str(values.dtype) for values in batch) == types
    assert batch.is_video.tolist() == [True, False]


def test_positions_and_padding(cfg, tokenizer):
    batch = collate([row(cfg, tokenizer, ONE), row(cfg, tokenizer, LONG, count=1, slots=1)], (400,), cfg.pad_token_id)
    assert batch.seg_valid.tolist() == [[True, True, False, False], [True, False, False, False]]
    for i, length in enumerate(batch.lengths):
        found = batch.seg_positions[i][batch.seg_valid[i]]
        assert (batch.labels[i, found + 1] == cfg.seg_token_id).all()
        assert (batch.labels[i, length:] == IGNORE).all() and (batch.visual[i, length:] == -1).all()
        assert (batch.ids[i, length:] == cfg.pad_token_id).all() and batch.ids[i, length - 1] == cfg.stop_ids[1]
    rows = [batch.visual[i][batch.visual[i] >= 0] for i in range(2)]
    np.testing.assert_array_equal(rows[0], np.arange(cfg.video_tokens))
    np.testing.assert_array_equal(rows[1], cfg.video_tokens + np.arange(cfg.image_tokens))


def test_masks_of_empty_slots_and_of_frames_without_annotation_are_ignored(cfg, tokenizer):
    masks = row(cfg, tokenizer, ONE).masks
    assert (masks[2:] == -1).all() and (masks[0, 1] == -1).all()
    assert set(np.unique(masks[1])) == {0, 1} and masks[1].mean() == 0.5


def test_masks_beyond_the_slots_are_left_out(cfg, tokenizer):
    found = row(cfg, tokenizer, ONE, sizes=dataclasses.replace(SIZES, slots=1))
    assert found.masks.shape[0] == len(found.seg_positions) == 1 and found.seg_valid.all()


def test_what_the_encoders_see(cfg, tokenizer):
    """Six frames and copies of the last one; an image alone; nothing for a tower that is left out."""
    _, frames = example(count=6)
    found = row(cfg, tokenizer, ONE)
    padded = frames[[0, 1, 2, 3, 4, *[5] * 11]]
    normal = preprocess.clip_pixels(padded, cfg.clip.image_size)
    np.testing.assert_allclose(preprocess.normalised(found.context, "clip"), normal, atol=2e-6)
    normal = preprocess.internvideo2_pixels(padded, cfg.internvideo2.image_size)
    np.testing.assert_allclose(preprocess.normalised(found.clips, "internvideo2"), normal, atol=2e-6)
    image = row(cfg, tokenizer, ONE, count=1)
    assert image.context[0].any() and not image.context[1:].any() and not image.clips.any()
    assert row(dataclasses.replace(cfg, encoders="image"), tokenizer, ONE).clips.shape[0] == 0
    assert row(dataclasses.replace(cfg, encoders="video"), tokenizer, ONE).context.shape[0] == 0


def test_uint8_for_sam2_is_within_a_grey_level(cfg, tokenizer):
    found = row(cfg, tokenizer, ONE)
    exact = preprocess.sam2_pixels([example(count=6)[1][-1]] * 2, cfg.sam2.image_size)
    difference = np.abs(preprocess.normalised(found.sam, "sam2") - exact)
    assert difference.max() < 1 / max(preprocess.SAM2_STD) and difference.mean() < 0.005
    assert preprocess.normalised(exact, "sam2") is exact


def test_lengths(cfg, tokenizer):
    assert [bucket(n, (8, 16)) for n in (1, 8, 9, 16)] == [8, 8, 16, 16]
    with pytest.raises(ValueError, match="17 positions is longer than 16"):
        bucket(17, (8, 16))
    rows = [row(cfg, tokenizer, ONE)]
    short = collate(rows, SIZES.lengths, cfg.pad_token_id)
    longer = lengthened(short, 400, cfg.pad_token_id)
    for a, b in zip(longer, collate(rows, (400,), cfg.pad_token_id)):
        np.testing.assert_array_equal(a, b)
    assert isinstance(longer, Batch)
    with pytest.raises(ValueError, match="cannot be cut"):
        lengthened(longer, 16, cfg.pad_token_id)
