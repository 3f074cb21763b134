"""A run's folder in a bucket: what may be in one, and how files that are appended to get there."""

import dataclasses
import json

import pytest
import tiny_training
from etils import epath

from vglamm_jax.convert.orbax_store import place
from vglamm_jax.train import loop, metrics, places
from vglamm_jax.train.config import FilesConfig, StartConfig

GS = "gs://bucket/folder"


def test_an_address_of_a_bucket_stays_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(place(GS) / "model") == f"{GS}/model"
    assert place("runs/x") == epath.Path(tmp_path / "runs" / "x")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"built": GS}, "built"),
        ({"start": StartConfig(checkpoint=GS)}, "start.checkpoint"),
        ({"start": StartConfig(parts=("here", GS))}, "start.parts.1"),
        ({"files": (FilesConfig(path=GS),)}, "files.0.path"),
    ],
)
def test_what_is_read_must_be_on_a_disk(tmp_path, changes, field):
    cfg = dataclasses.replace(tiny_training.config(tmp_path), **changes)
    for function in (loop.train, loop.describe):
        with pytest.raises(ValueError, match=f"{field}={GS}: must be on a disk"):
            function(cfg)


def test_missing_gcsfs_is_told(monkeypatch):
    monkeypatch.setattr(places.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="needs gcsfs; pip install"):
        places.check(tiny_training.config(GS))


def test_metrics_go_on_where_the_bucket_has_them(tmp_path, monkeypatch):
    bucket = epath.Path(tmp_path)  # a folder of a disk, to which nothing is appended
    monkeypatch.setattr(metrics, "in_bucket", lambda folder: True)
    (bucket / "metrics.jsonl").write_text('{"step": 1}\n')
    writer = metrics.Writer(bucket, tensorboard=False)
    writer.scalars(2, {"train/loss": 0.5})
    assert (bucket / "metrics.jsonl").read_text() == '{"step": 1}\n'  # the minute is not over
    monkeypatch.setattr(places, "SECONDS", 0.0)
    writer.scalars(3, {"train/loss": 0.25})
    assert [json.loads(line)["step"] for line in (bucket / "metrics.jsonl").read_text().splitlines()] == [1, 2, 3]
    writer.scalars(4, {"train/loss": 0.125})
    writer.close()
    assert len((bucket / "metrics.jsonl").read_text().splitlines()) == 4


def test_a_bucket_that_does_not_answer_does_not_end_a_run(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setattr(metrics, "in_bucket", lambda folder: True)
    monkeypatch.setattr(places, "SECONDS", 0.0)
    writer = metrics.Writer(epath.Path(tmp_path / "file"), tensorboard=False)  # no folder: writing there fails
    writer.scalars(1, {"train/loss": 0.5})
    assert "metrics not copied" in capsys.readouterr().err
