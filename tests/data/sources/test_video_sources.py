"""What holds for every video source: it is in the table, and says what it misses."""

import importlib
import inspect

import pytest
from tiny_video_sets import write_json, write_text

from vglamm_jax.data.frames import ORIGINAL
from vglamm_jax.data.sources import frames_rules
from vglamm_jax.data.sources.registry import SOURCES, examples

VIDEO = list(SOURCES)[list(SOURCES).index("refer_youtube_vos") :]


def test_all_are_listed():
    assert len(VIDEO) == 20
    assert set(ORIGINAL) == set(frames_rules.RULES)


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


@pytest.mark.parametrize(
    ("name", "split", "file", "content", "complaint"),
    [
        ("mevis", "valid", "mevis/valid/meta_expressions.json", [], "has no 'videos'"),
        ("charades_sta", "test", "charades_sta/charades_sta_train.txt", "", "charades_sta_test.txt is missing"),
        ("video_instruct", "train", "video_instruct_100k/VideoInstruct100K.json", {"a": 1}, "not a list"),
        ("video_instruct", "train", "video_instruct_100k/VideoInstruct100K.json", ["x"], "entry 1 is 'x'"),
        ("video_instruct", "train", "video_instruct_100k/VideoInstruct100K.json", [{"q": 1}], "entry 1 is {'q': 1}"),
        ("video_gcg", "val", "video_gcg/instruction_data/val.json", {"videos": []}, "has no 'annotations'"),
        ("activitynet_captions", "train", "activitynet_captions/train.json", [1], "not an object"),
    ],
)
def test_files_of_another_form_are_named(tmp_path, name, split, file, content, complaint):
    (write_text if isinstance(content, str) else write_json)(tmp_path / file, content)
    with pytest.raises((ValueError, FileNotFoundError), match=complaint):
        next(examples(name, tmp_path, split))
