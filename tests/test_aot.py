"""Ahead-of-time compilation for a TPU that is not here: the real programs, the toy sizes."""

import json

import pytest

from vglamm_jax.cli import main

pytest.importorskip("libtpu", reason="compiling for TPUs needs libtpu: pip install vglamm_jax[aot]")

SIZES = ["--config", "configs/tiny.py", "--prompt", "256", "--cache", "384", "--objects", "2"]


@pytest.mark.slow
def test_inference_compiles_for_one_chip(tmp_path, capsys):
    path = tmp_path / "aot.json"
    assert main(["aot", "infer", "--topology", "v5e:1x1", *SIZES, "--json", str(path)]) == 0
    shown = capsys.readouterr()
    assert "fits" in shown.out and "Involuntary full rematerialization" not in shown.err
    table = json.loads(path.read_text())
    assert len(table["programs"]) == 6
    assert all(program["weights"] > 0 and program["code"] > 0 for program in table["programs"])
    parts = ("weights", "resident", "programs of all", "temporaries of the neediest")
    assert table["peak"] == sum(table[part] for part in parts)


def test_unknown_topology_is_named(capsys):
    assert main(["aot", "infer", "--topology", "v99:1x1", *SIZES]) == 2
    assert "v99:1x1" in capsys.readouterr().err


def test_cache_must_hold_the_answer(capsys):
    assert main(["aot", "infer", "--prompt", "300", "--cache", "300"]) == 2
    assert "--cache 300 must exceed --prompt 300" in capsys.readouterr().err
