"""docs/data_schema.md cannot rot: its files are written, its commands run, its output and its fields compared."""

import argparse
import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import own_data
import pytest
from conftest import ROOT

from vglamm_jax.data import command
from vglamm_jax.data.clip_maker import make_clip, scene_frames
from vglamm_jax.data.schema import SCHEMA, TASKS, Example, Media, Obj, Turn, from_dict, to_dict
from vglamm_jax.data.sources import own_jsonl

PAGE = (ROOT / "docs" / "data_schema.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```", re.MULTILINE | re.DOTALL)
SIZE = (48, 64)


def blocks(kind: str) -> list[tuple[str, str]]:
    return [(name, text) for found, name, text in BLOCK.findall(PAGE) if found == kind]


def values(text: str) -> list:
    """The JSON values of a text, one after the other."""
    out, position = [], 0
    while position < len(text.rstrip()):
        value, position = json.JSONDecoder().raw_decode(text, position)
        out.append(value)
        position += len(text[position:]) - len(text[position:].lstrip())
    return out


@pytest.fixture
def folder(tmp_path, monkeypatch, capsys) -> Path:
    """The files of the page, and the videos and pictures they are about."""
    monkeypatch.chdir(tmp_path)
    for name, text in blocks("json"):
        if name.endswith(".jsonl"):
            own_data.write_lines(tmp_path / name, values(text))
        elif name.endswith(".json"):
            own_data.write_json(tmp_path / name, json.loads(text))
    for place in ("my_data/videos", "broken"):
        make_clip(tmp_path / place / "shapes.mp4", seconds=2, fps=4, size=SIZE)
    _, masks = next(scene_frames(8, SIZE))
    own_data.palette_png(tmp_path / "my_data/masks/box/00000.png", masks[1])
    labels = np.where(masks[0], 1, np.where(masks[1], 2, 0))
    for frame in ("00000", "00001"):
        own_data.palette_png(tmp_path / "davis/Annotations/ball" / f"{frame}.png", labels)
    pictures = ("coco/1.jpg", "youtube_vis/v/0.jpg", "youtube_vis/v/1.jpg")
    for name in (*pictures, "davis/JPEGImages/ball/00000.jpg", "davis/JPEGImages/ball/00001.jpg"):
        own_data.picture(tmp_path / name, size=SIZE)
    return tmp_path


def test_the_commands_print_what_the_page_says(folder, capsys):
    said = 0
    for _, text in blocks("console"):
        for shown in re.split(r"^\$ vglamm data ", text, flags=re.MULTILINE)[1:]:
            line, expected = shown.split("\n", 1)
            parser = argparse.ArgumentParser()
            command.add_arguments(parser)
            code = command.main(parser.parse_args(line.split()))
            assert capsys.readouterr().out == expected, line
            assert code == (1 if "broken" in line else 0)
            said += 1
    assert said == 6 and (folder / "seen" / "00_shapes-1.mp4").stat().st_size > 1000


def test_the_short_line_and_the_one_written_out_are_the_same_example(folder):
    (short,) = own_jsonl.examples(folder / "my_data")
    full = json.loads(dict(blocks("json"))["written-out"])
    assert to_dict(short) == full and from_dict(full) == short


def test_every_field_is_explained_and_no_other():
    explained = set(re.findall(r"^\| `([\w.\[\]]+)` \|", PAGE, re.MULTILINE))
    parts = {"": Example, "media.": Media, "objects[].": Obj, "turns[].": Turn}
    fields = {prefix + field.name for prefix, part in parts.items() for field in dataclasses.fields(part)}
    written_elsewhere = {"media", "objects", "turns", "media.encoded"}
    assert explained == fields - written_elsewhere | {"schema", "turns[].marked"}
    row = next(line for line in PAGE.splitlines() if line.startswith("| `turns[].task`"))
    assert set(re.findall(r"`(\w+)`", row)) == set(TASKS)
    assert f'"{SCHEMA}"' in PAGE


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((\.\./[^)]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
