"""What docs/moving_things.md shows runs."""

import re

import numpy as np
from conftest import ROOT

PAGE = ROOT / "docs" / "moving_things.md"


def test_the_blocks_of_the_page_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    for block in blocks:
        exec(block, names)
    clip = names["clip"]
    assert clip.frames.shape == (16, 96, 96, 3) and clip.frames.dtype == np.uint8
    assert clip.masks.shape[1:] == (16, 96, 96) and clip.boxes.shape == (len(clip.masks), 16, 4)
    assert len(clip.expressions) == 10 and len(clip.moments) == 2
    assert {turn.task for turn in names["example"].turns} == {"segment"}
    assert len(list((tmp_path / "moving_things" / "videos").iterdir())) == 4


def test_the_page_names_files_that_are_there():
    for link in re.findall(r"\]\(([^)]+)\)", PAGE.read_text(encoding="utf-8")):
        assert (PAGE.parent / link).exists(), link
