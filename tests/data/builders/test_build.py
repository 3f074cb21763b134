"""From a data set on disk to array_record files and back."""

import dataclasses
import importlib.util
import json
import multiprocessing
import os
import pickle
import queue
import shutil
import sys

import image_sets
import pytest
from image_sets import WRITERS

from vglamm_jax.data.builders import reading
from vglamm_jax.data.builders.build import build, builder_class, directory_of, folder_of
from vglamm_jax.data.builders.built import BuiltSource
from vglamm_jax.data.builders.stored import Storage
from vglamm_jax.data.schema import BadRecord, Example
from vglamm_jax.data.sources.registry import SOURCES, examples


def files(out) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.rglob("*array_record*")}


def of_source(name: str, root, split: str = "train") -> dict[str, Example]:
    """The examples of a source, with the bytes of their pictures."""
    found = [record for record in examples(name, root, split) if isinstance(record, Example)]
    with_pictures = {}
    for example in found:
        encoded = tuple((root / frame).read_bytes() for frame in example.media.frames)
        media = dataclasses.replace(example.media, encoded=encoded)
        with_pictures[example.id] = dataclasses.replace(example, media=media)
    return with_pictures


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_built_is_what_the_source_reads(tmp_path, name):
    root, out = tmp_path / "root", tmp_path / "out"
    WRITERS[name](root)
    report = build(name, root, out)
    source = BuiltSource(out, name)
    assert report.examples == len(source) and not report.reused
    assert {example.id: example for example in source} == of_source(name, root)
    assert list(report.bad) == BadList(record for record in examples(name, root, "train"))
    assert sorted(path.name for path in out.iterdir()) == [folder_of(name)]  # nothing else is left
    assert "tensorflow" not in sys.modules


class BadList(list):
    """Bad records compare by what they say."""

    def __init__(self, records):
        super().__init__(record for record in records if isinstance(record, BadRecord))

    def __eq__(self, other):
        return [str(record) for record in self] == [str(record) for record in other]


def test_every_source_has_a_builder_of_its_name():
    for name in SOURCES:
        assert builder_class(name).name == folder_of(name)


def test_a_built_source_is_what_grain_needs(tmp_path):
    import grain

    image_sets.reason_seg(tmp_path)
    build("reason_seg", tmp_path, tmp_path / "out")
    source = BuiltSource(tmp_path / "out", "reason_seg")
    assert [source[i].id for i in (-1, -2)] == [source[1].id, source[0].id]
    with pytest.raises(IndexError):
        source[2]
    copy = pickle.loads(pickle.dumps(source))
    assert repr(copy) == repr(source) == f"BuiltSource({str(tmp_path / 'out')!r}, 'reason_seg', 'train')"
    assert copy[1] == source[1]
    mapped = grain.MapDataset.source(source).seed(3).shuffle().map(lambda example: example.id)
    assert sorted(mapped[i] for i in range(2)) == ["1", "2"]
    with pytest.raises(FileNotFoundError, match=r"vglamm data build reason_seg --root FOLDER --out .* --split val"):
        BuiltSource(tmp_path / "out", "reason_seg", "val")


def test_a_finished_build_is_kept_until_it_is_to_be_replaced(tmp_path):
    image_sets.llava_instruct(tmp_path)
    out = tmp_path / "out"
    first = build("llava_instruct", tmp_path, out)
    before = BuiltSource(out, "llava_instruct").contents()
    build("llava_instruct", tmp_path, tmp_path / "elsewhere")
    assert BuiltSource(tmp_path / "elsewhere", "llava_instruct").contents() == before
    file = tmp_path / "llava_dataset/llava_instruct_150k.json"
    file.write_text(json.dumps(json.loads(file.read_text())[:1]))
    again = build("llava_instruct", tmp_path, out)
    assert again.reused and again.examples == first.examples == 2
    with pytest.raises(ValueError, match=r"was built with .*'quality': 95.* not .*'quality': 50.*; add --overwrite"):
        build("llava_instruct", tmp_path, out, storage=Storage(quality=50))
    assert str(again.bad[0]) == str(first.bad[0])
    assert (
        build("llava_instruct", tmp_path, out, overwrite=True).examples == 1 == len(BuiltSource(out, "llava_instruct"))
    )
    assert BuiltSource(out, "llava_instruct").contents() != before


def test_an_interrupted_build_leaves_nothing_that_looks_whole(tmp_path):
    image_sets.llava_instruct(tmp_path)
    out = tmp_path / "out"
    half = out / ".llava_instruct-train.building/llava_instruct"  # as a killed process leaves it
    half.mkdir(parents=True)
    (half / "half.array_record").write_bytes(b"half")
    with pytest.raises(BadRecord, match="llava_instruct: 10-000002: expected human and gpt"):
        build("llava_instruct", tmp_path, out, strict=True)  # the third record, after two are written
    assert not any(out.iterdir())
    assert build("llava_instruct", tmp_path, out).examples == 2
    before = files(out)
    with pytest.raises(BadRecord):
        build("llava_instruct", tmp_path, out, strict=True, overwrite=True)
    assert files(out) == before and before


def test_bad_pictures_and_double_ids_are_reported(tmp_path):
    image_sets.llava_instruct(tmp_path)
    file = tmp_path / "llava_dataset/llava_instruct_150k.json"
    entries = json.loads(file.read_text())
    for name, content in (("cut", (tmp_path / "coco/train2017/9.jpg").read_bytes()[:300]), ("text", b"no picture")):
        (tmp_path / f"coco/train2017/{name}.jpg").write_bytes(content)
        entries.append({**entries[0], "id": name, "image": f"{name}.jpg"})
    file.write_text(json.dumps(entries))
    report = build("llava_instruct", tmp_path, tmp_path / "out")
    assert report.examples == 2
    reasons = {record.id: record.reason for record in report.bad}
    assert sorted(reasons) == ["10-000002", "cut-000003", "text-000004"]
    assert all("not a readable picture" in reasons[id] for id in ("cut-000003", "text-000004"))
    content = json.loads((report.directory / "build_report.json").read_text())
    assert [record["id"] for record in content["bad"]] == [record.id for record in report.bad]

    image_sets.ade20k(tmp_path)
    shutil.copy(tmp_path / "ade20k/images/training/a.jpg", tmp_path / "ade20k/images/training/a.b.jpg")
    shutil.rmtree(tmp_path / "ade20k/annotations/training")
    (tmp_path / "ade20k/annotations/training").mkdir()
    with pytest.raises(
        ValueError, match="no usable example in its split 'train'; the first of 3 bad records: ade20k: a"
    ):
        build("ade20k", tmp_path, tmp_path / "out")


def test_the_files_do_not_depend_on_how_many_read(tmp_path):
    for name in ("llava_instruct", "reason_seg"):
        WRITERS[name](tmp_path)
    one, two = (build("llava_instruct", tmp_path, tmp_path / str(n), workers=n) for n in (1, 2))
    assert files(tmp_path / "1") == files(tmp_path / "2")
    assert sorted(map(str, one.bad)) == sorted(map(str, two.bad)) and one.bad


def test_what_stops_a_reader_is_told(tmp_path):
    channel = queue.Queue()
    reading._read(reading.Reading("llava_instruct", tmp_path, "train"), (0, 2), channel)
    kind, error = reading._next(multiprocessing.current_process(), channel)
    assert kind == "error" and isinstance(error, FileNotFoundError)
    assert "llava_instruct_150k.json is missing" in str(error)


def test_a_reader_that_is_killed_ends_the_build(monkeypatch):
    monkeypatch.setattr(reading, "_ALIVE_EVERY", 0.1)
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=os._exit, args=(9,))
    process.start()
    with pytest.raises(ChildProcessError, match="a reader ended with code 9"):
        reading._next(process, spawn.Queue())


def test_on_apache_beam(tmp_path):
    pytest.importorskip("apache_beam", reason="pip install 'vglamm_jax[beam]'")
    image_sets.llava_instruct(tmp_path)
    here = build("llava_instruct", tmp_path, tmp_path / "here")
    there = build("llava_instruct", tmp_path, tmp_path / "there", workers=3, beam_runner="DirectRunner")
    assert files(tmp_path / "here") == files(tmp_path / "there")
    assert (there.examples, str(there.bad[0])) == (2, str(here.bad[0]))
    with pytest.raises(Exception, match="expected human and gpt"):
        build("llava_instruct", tmp_path, tmp_path / "strict", strict=True, beam_runner="DirectRunner")
    assert not directory_of(tmp_path / "strict", "llava_instruct", "train").exists()


@pytest.mark.skipif(importlib.util.find_spec("apache_beam") is not None, reason="Apache Beam is installed")
def test_without_apache_beam_its_name_and_command_are_told(tmp_path):
    with pytest.raises(ValueError, match=r"Apache Beam is not installed: pip install 'vglamm_jax\[beam\]'"):
        build("ade20k", tmp_path, tmp_path / "out", beam_runner="DirectRunner")
