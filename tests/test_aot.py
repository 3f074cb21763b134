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


TRAINING = ["aot", "train", "--config", "tests/tiny_training.py", "--topology", "v5e:2x2", "--config.remat=dots"]


@pytest.fixture(scope="module")
def trainings(tmp_path_factory):
    """What compiling the step prints and writes, on one slice and on two."""
    folder, found = tmp_path_factory.mktemp("aot"), {}
    for slices, more in ((1, ()), (2, ("--num-slices", "2"))):
        paths = folder / f"{slices}.json", folder / f"{slices}.txt"
        code = main([*TRAINING, *more, "--json", str(paths[0]), "--hlo", str(paths[1])])
        found[slices] = code, json.loads(paths[0].read_text()), paths[1].read_text()
    assert main(["aot", "table", *(str(folder / f"{n}.json") for n in (1, 2)), "--markdown", str(folder / "t.md")]) == 0
    return found, (folder / "t.md").read_text()


@pytest.mark.slow
def test_training_compiles_and_fits(trainings):
    found, table = trainings
    for code, values, _ in found.values():
        assert code == 0 and values["complaints"] == []
        assert 0 < values["arguments"] < values["peak"] < 2**30
        assert values["costs"]["compute"] > 0 and sum(values["flops"].values()) > 0
    assert table.count("\n") == 4 and "2 x v5e:2x2" in table


@pytest.mark.slow
def test_only_the_sums_of_gradients_leave_a_slice(trainings):
    one, two = (trainings[0][slices][1] for slices in (1, 2))
    assert two["mesh"] == {"data": 2, "fsdp": 4, "tensor": 1}
    assert {sent["network"] for sent in one["costs"]["collectives"]} == {"ICI"}
    away = [sent for sent in two["costs"]["collectives"] if sent["network"] == "DCN"]
    assert away and not any(sent["kind"] == "all-gather" for sent in away)


@pytest.mark.slow
def test_weights_are_gathered_in_bfloat16_and_multiplied_whole(trainings):
    text = trainings[0][1][2]
    assert "all-gather" in text and "windowed_dot_general" not in text


def test_slices_need_their_axis(capsys):
    assert main([*TRAINING, "--num-slices", "2", "--config.mesh.data=1"]) == 2
    assert "mesh.data=1 must be a multiple of mesh.slices=2" in capsys.readouterr().err


def test_an_override_that_does_not_fit_is_named(capsys):
    assert main([*TRAINING, "--config.btach_size=3"]) == 2
    assert "btach_size" in capsys.readouterr().err


def test_unknown_topology_is_named(capsys):
    assert main(["aot", "infer", "--topology", "v99:1x1", *SIZES]) == 2
    assert "v99:1x1" in capsys.readouterr().err


def test_cache_must_hold_the_answer(capsys):
    assert main(["aot", "infer", "--prompt", "300", "--cache", "300"]) == 2
    assert "--cache 300 must exceed --prompt 300" in capsys.readouterr().err
