"""Built data sets as the sources of training batches."""

import numpy as np
from image_sets import WRITERS

from vglamm_jax.config import load_config
from vglamm_jax.data.builders.build import build
from vglamm_jax.data.builders.built import BuiltSource
from vglamm_jax.data.mixture import Part
from vglamm_jax.data.pack import PackConfig
from vglamm_jax.data.pipeline import Batches, DataConfig
from vglamm_jax.data.tokenizer import load_tokenizer, tiny_tokenizer

NAMES = ("ade20k", "refcoco", "grefcoco", "llava_instruct", "reason_seg", "grandf")


def test_image_sets_of_every_kind_become_batches(tmp_path):
    for name in NAMES:
        WRITERS[name](tmp_path)
        build(name, tmp_path, tmp_path / "built")
    parts = [Part(BuiltSource(tmp_path / "built", name)) for name in NAMES]
    tokenizer = load_tokenizer(tiny_tokenizer(tmp_path / "tokenizer"))
    data = DataConfig(pack=PackConfig(lengths=(512,), frames=1, mask_size=16), augment=None, strict=True)
    stream = Batches(parts, load_config("tiny"), data, tokenizer, len(NAMES))
    rows = [batch for _, batch in zip(range(4), stream)]
    stream.close()
    assert not any(batch.is_video.any() for batch in rows)
    used = np.concatenate([batch.seg_valid.any(axis=1) for batch in rows])
    shown = np.concatenate([(batch.masks == 1).any(axis=(1, 2, 3, 4)) for batch in rows])
    assert shown.any() and not (shown & ~used).any()
    assert not used.all()  # conversations without masks
    assert (used & ~shown).any()  # gRefCOCO's elephant, which is not there
