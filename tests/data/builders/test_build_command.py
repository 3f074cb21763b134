"""`vglamm data build` as people type it."""

import argparse

import image_sets
import own_data
import pytest

from vglamm_jax.data.builders import command
from vglamm_jax.data.builders.built import BuiltSource
from vglamm_jax.data.schema import Example
from vglamm_jax.data.sources import find


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.main(parser.parse_args([str(word) for word in words]))


def test_build(tmp_path, capsys):
    image_sets.refcoco(tmp_path)
    out = tmp_path / "out"
    assert run("refcoco", "--root", tmp_path, "--out", out, "--split", "train", "testA") == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        f"{out}/refcoco/train/1.0.0: 1 example written, 1 bad record left out",
        f"{out}/refcoco/testA/1.0.0: 1 example written, 0 bad records left out",
    ]
    assert said.err.strip() == "refcoco: 1/3: no annotation 999"
    assert BuiltSource(out, "refcoco", "testA")[0].turns[0].expression == "sky"
    assert run("refcoco", "--root", tmp_path, "--out", out) == 0
    assert "1 example was there already, 1 bad record left out" in capsys.readouterr().out


def test_own_data(tmp_path, capsys):
    """A JSONL with a bad row, by three readers, is stored as it was read."""
    folder, out = own_data.jsonl_folder(tmp_path / "data"), tmp_path / "out"
    lines = folder / "train.jsonl"
    lines.write_text(lines.read_text(encoding="utf-8").rstrip("\n") + '\n{"id": "x"}\n', encoding="utf-8")
    good = [record for record in find.examples(folder, "train") if isinstance(record, Example)]
    assert run("own", "--root", folder, "--out", out, "--workers", 3) == 0
    said = capsys.readouterr()
    assert said.out == f"{out}/own/train/1.0.0: {len(good)} examples written, 1 bad record left out\n"
    source = BuiltSource(out, "own")
    stored = {one.id: one for one in source}
    assert {one.id: (one.objects, one.turns) for one in good} == {k: (v.objects, v.turns) for k, v in stored.items()}
    assert all(len(one.media.encoded) == one.media.length for one in stored.values())
    with pytest.raises(ValueError, match="no row of the split 'day'; `vglamm data stats"):
        run("own", "--root", own_data.jsonl_folder(tmp_path / "more"), "--out", out, "--split", "day")
    with pytest.raises(ValueError, match="no form of data 'mevis': choose one of davis, jsonl, coco"):
        run("own", "--root", folder, "--out", out, "--option", "form=mevis", "--overwrite")


def test_options_of_the_data_set(tmp_path):
    image_sets.paco_lvis(tmp_path)
    out = tmp_path / "out"
    run("paco_lvis", "--root", tmp_path, "--out", out, "--option", "instances=true")
    assert [turn.expression for turn in BuiltSource(out, "paco_lvis")[0].turns] == [
        "mug",
        "mug",
        "the handle of the mug",
    ]
    with pytest.raises(ValueError, match="paco_lvis has no option 'colour': choose of instances"):
        run("paco_lvis", "--root", tmp_path, "--out", out, "--option", "colour=red")
    with pytest.raises(ValueError, match="--option instances=1: write instances=true or false"):
        run("paco_lvis", "--root", tmp_path, "--out", out, "--option", "instances=1")


@pytest.mark.parametrize(
    "words, error, message",
    [
        (("--root", "nowhere"), FileNotFoundError, "nowhere: no such folder; give the folder the data set"),
        (("--split", "night"), ValueError, "refcoco has no split 'night': choose one of train, val"),
        (("--workers", "0"), ValueError, "workers must be 1 or more"),
        (("--fps", "-1"), ValueError, "fps and short side must be 0 or more"),
        (("--strict",), ValueError, "refcoco: 1/3: no annotation 999"),
    ],
)
def test_what_goes_wrong_is_said_in_a_line(tmp_path, words, error, message):
    image_sets.refcoco(tmp_path)
    with pytest.raises(error, match=message) as raised:
        run("refcoco", "--root", tmp_path, "--out", tmp_path / "out", *words)
    assert "\n" not in str(raised.value)
