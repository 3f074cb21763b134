"""What a test reads from a video set is also built as array_record files and read back, without a word in the test."""

import dataclasses
import functools
import importlib
import inspect
import tempfile

import pytest

from vglamm_jax.data.builders.build import build
from vglamm_jax.data.builders.built import BuiltSource
from vglamm_jax.data.builders.stored import Storage
from vglamm_jax.data.schema import BadRecord, Example
from vglamm_jax.data.sources.registry import SOURCES

VIDEO = list(SOURCES)[list(SOURCES).index("refer_youtube_vos") :]


@pytest.fixture(autouse=True)
def everything_read_is_also_built(monkeypatch):
    for name in VIDEO:
        module = importlib.import_module(f"vglamm_jax.data.sources.{SOURCES[name].module}")
        monkeypatch.setattr(module, "examples", _built_too(monkeypatch, module, name))


def _built_too(monkeypatch, module, name: str):
    """The module's `examples`; when all of them are taken, they are built and compared."""
    function = module.examples
    signature = inspect.signature(function)

    @functools.wraps(function)
    def examples(*args, **options):
        records = []
        for record in function(*args, **options):
            records.append(record)
            yield record
        asked = signature.bind(*args, **options)
        asked.apply_defaults()
        whole = asked.arguments.pop("part") == (0, 1)
        if whole and any(isinstance(record, Example) for record in records):
            with monkeypatch.context() as within:
                within.setattr(module, "examples", function)  # the builder's own reading is not built again
                _check(name, asked.arguments, records)

    return examples


def _check(name: str, arguments: dict, records: list) -> None:
    options = dict(arguments)
    root, split = options.pop("root"), options.pop("split")
    with tempfile.TemporaryDirectory() as out:
        report = build(name, root, out, split, options=options, storage=Storage(fps=0))
        found = {example.id: example for example in BuiltSource(out, name, split)}
    unusable = {record.id for record in report.bad}
    given = {record.id for record in records if isinstance(record, BadRecord)}
    wanted = {one.id: one for one in records if isinstance(one, Example) and one.id not in unusable - given}
    assert found and found.keys() == wanted.keys() and given <= unusable
    for id, example in found.items():
        assert len(example.media.encoded) == example.media.length
        media = dataclasses.replace(example.media, encoded=(), fps=wanted[id].media.fps)
        assert dataclasses.replace(example, media=media) == wanted[id]
