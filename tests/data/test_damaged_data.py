"""Whatever stands in somebody's JSON, it becomes a problem with a name, never a crash."""

import copy
import json
import shutil

import own_data
import pytest

from vglamm_jax.data.media_check import MediaCheck
from vglamm_jax.data.sources import find
from vglamm_jax.data.sources.own import DataError

NONSENSE = ({"a": [1]}, [float("inf")], 10**30)
FORMS = {
    "jsonl": (own_data.jsonl_folder, "train.jsonl"),
    "coco": (own_data.coco_folder, "annotations/instances_train2017.json"),
    "youtube_vis": (own_data.youtube_vis_folder, "train.json"),
    "davis": (own_data.davis_folder, "meta_expressions.json"),
    "mevis": (lambda root: own_data.davis_folder(root, mevis=True), "meta_expressions.json"),
    "mevis_masks": (lambda root: own_data.davis_folder(root, mevis=True), "mask_dict.json"),
}


def places(value, path=()):
    """Paths to every value inside a JSON value, and to itself."""
    yield path
    if isinstance(value, (dict, list)):
        for key, inside in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inside, (*path, key))


def replaced(value, path, new):
    if not path:
        return new
    value = copy.deepcopy(value)
    inside = value
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = new
    return value


@pytest.mark.parametrize("form", FORMS)
def test_nonsense_anywhere_is_reported(tmp_path, form):
    make, name = FORMS[form]
    file = make(tmp_path) / name
    before = file.read_text()
    content = own_data.ball_line() if form == "jsonl" else json.loads(before)
    # What nothing can be said about: free text, and what is passed over.
    unnoticed = 0
    tried = [(path, new) for path in places(content) for new in NONSENSE]
    for path, new in tried:
        file.write_text(json.dumps(replaced(content, path, new)) + "\n")
        try:
            rows = list(find.rows(tmp_path))
            check = MediaCheck(tmp_path, "exists")
            unnoticed += not any(row.problems or (row.example and check(row.example.media)) for row in rows)
        except DataError as error:
            assert str(tmp_path) in str(error)
    assert len(tried) > 40 and unnoticed <= len(tried) // 4, f"{unnoticed} of {len(tried)} went unnoticed"


def test_files_cut_short_are_named(tmp_path):
    for form, (make, name) in FORMS.items():
        root = tmp_path / form
        file = make(root) / name
        file.write_text(file.read_text()[:-40])
        if form == "jsonl":
            assert "is not JSON" in str(list(find.rows(root))[-1].problems[0])
        else:
            with pytest.raises(DataError, match=f"{file.name}: not JSON"):
                list(find.rows(root))
        shutil.rmtree(root)
