"""What holds for every video source: it is in the table, and says what it misses."""

import importlib
import inspect

import pytest

from vglamm_jax.data.frames import ORIGINAL
from vglamm_jax.data.sources import frames_rules
from vglamm_jax.data.sources.registry import SOURCES, examples

VIDEO = list(SOURCES)[list(SOURCES).index("refer_youtube_vos") :]


def test_all_are_listed():
    assert len(VIDEO) == 20
    assert set(ORIGINAL) <= set(frames_rules.RULES)


@pytest.mark.parametrize("name", VIDEO)
def test_each_names_what_is_missing(name, tmp_path):
    module = importlib.import_module(f"vglamm_jax.data.sources.{SOURCES[name].module}")
    assert name == module.SOURCE and "part" in inspect.signature(module.examples).parameters
    for needed in {"a2d_sentences": ["h5py"], "jhmdb_sentences": ["scipy"]}.get(name, []):
        pytest.importorskip(needed)
    for split in module.SPLITS:
        with pytest.raises(FileNotFoundError, match=str(tmp_path)) as caught:
            next(examples(name, tmp_path, split))
        assert "expected in the root folder" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=f"no split 'holiday': choose one of {', '.join(module.SPLITS)}"):
        next(examples(name, tmp_path, "holiday"))
