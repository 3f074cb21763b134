"""The benchmark's rows on the tiny model: both sides compute the same thing, and the table says what it measured."""

import argparse
import json

import pytest

from vglamm_jax.bench import command, inference


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    ("part", "names"),
    [
        ("clip", ["CLIP"]),
        ("llm", ["LLM prefill", "LLM decode step"]),
        pytest.param("sam2", ["SAM2 image encoder", "SAM2 mask decode", "SAM2 tracker step"], marks=pytest.mark.slow),
    ],
)
def test_rows_of_a_part(part, names):
    pytest.importorskip("torch", reason="measured against PyTorch")
    seen = []
    rows = inference.run("tiny", runs=1, only=[part], report=seen.append)
    assert rows == seen
    assert [row.name for row in rows] == names
    for row in rows:
        assert row.error < 1e-4
        assert row.error > 0 or part == "llm"  # exactly equal masks would be those of absent objects
        assert row.ours_ms > 0
        assert row.torch_ms > 0


def test_unknown_part_is_named():
    with pytest.raises(ValueError, match="no such part to measure: tail; choose from clip, llm, sam2"):
        inference.run("tiny", only=["clip", "tail"])


def test_full_size_is_the_published_one_with_a_smaller_language_model():
    work = inference.workload("full")
    published = inference.load_model_config("videoglamm_phi3")
    assert (work.config.llm.width, work.config.llm.depth) == (1024, 8)
    work.config.llm = published.llm
    assert work.config == published
    assert work.prompt == 3400


def test_small_size_keeps_the_published_widths():
    small, published = inference.workload("small").config, inference.load_model_config("videoglamm_phi3")
    for part in ("clip", "llm"):
        assert getattr(small, part).width == getattr(published, part).width
    assert small.sam2.hiera.width == published.sam2.hiera.width
    assert small.sam2.image_size == published.sam2.image_size


def test_table_and_json(capsys, tmp_path):
    pytest.importorskip("torch", reason="measured against PyTorch")
    out = tmp_path / "new" / "rows.json"
    assert (
        command.main(arguments("inference", "--size", "tiny", "--runs", "1", "--only", "clip", "--out", str(out))) == 0
    )
    head, line, row = capsys.readouterr().out.strip().splitlines()
    assert [cell.strip() for cell in head.strip("|").split("|")] == list(inference.COLUMNS)
    assert set(line) == set("|- ")
    (saved,) = json.loads(out.read_text())
    assert row.split("|")[1].strip() == saved["name"] == "CLIP"
    assert f"{saved['ratio']:.2f}" in row


def test_a_busy_machine_is_named(monkeypatch):
    monkeypatch.setattr(inference.os, "getloadavg", lambda: (7.5, 0.0, 0.0))
    monkeypatch.setattr(inference, "threads", lambda: 2)
    assert inference.busy().startswith("this machine is busy (load 7.5 on 2 processors)")
    monkeypatch.setattr(inference.os, "getloadavg", lambda: (0.4, 0.0, 0.0))
    assert inference.busy() == ""


def test_no_runs_are_refused():
    with pytest.raises(ValueError, match="--runs must be at least 1, got 0"):
        command.main(arguments("inference", "--runs", "0"))
