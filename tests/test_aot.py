"""Ahead-of-time compilation for a TPU that is not here: the real programs, the toy sizes."""

import json

import pytest
from conftest import LONG

from vglamm_jax.aot.command import make_folders
from vglamm_jax.cli import main

pytest.importorskip("libtpu", reason="compiling for TPUs needs libtpu: pip install vglamm_jax[aot]")
# What JAX says of its cache when it cannot read a TPU's program from there.
pytestmark = pytest.mark.filterwarnings("error:Error reading persistent compilation cache")

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


def compiled(folder, *more):
    """(exit code, what is written as JSON, the program, the table) of compiling the step."""
    values, program, table = (folder / "results" / name for name in ("step.json", "step.txt", "table.md"))
    code = main([*TRAINING, *more, "--json", str(values), "--hlo", str(program)])
    assert main(["aot", "table", str(values), "--markdown", str(table)]) == 0
    return code, json.loads(values.read_text()), program.read_text(), table.read_text()


@pytest.fixture(scope="module")
def two_slices(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("aot"), "--num-slices", "2")


def assert_fits(code, values):
    assert code == 0 and values["complaints"] == []
    assert 0 < values["arguments"] < values["peak"] < 2**30
    assert values["costs"]["compute"] > 0 and sum(values["flops"].values()) > 0


@pytest.mark.slow
def test_training_compiles_and_fits(two_slices):
    code, values, _, table = two_slices
    assert_fits(code, values)
    assert table.count("\n") == 3 and "2 x v5e:2x2" in table


@pytest.mark.slow
def test_only_the_sums_of_gradients_leave_a_slice(two_slices):
    values = two_slices[1]
    assert values["mesh"] == {"data": 2, "fsdp": 4, "tensor": 1}
    sent = {network: [one["kind"] for one in values["costs"]["collectives"] if one["network"] == network]
            for network in ("ICI", "DCN")}  # fmt: skip
    assert "all-gather" in sent["ICI"] and sent["DCN"] and "all-gather" not in sent["DCN"]


@pytest.mark.slow
def test_weights_are_gathered_in_bfloat16_and_multiplied_whole(two_slices):
    text = two_slices[2]
    assert "all-gather" in text and "windowed_dot_general" not in text


@LONG
def test_one_slice_has_no_other_network(tmp_path):
    code, values, _, _ = compiled(tmp_path)
    assert_fits(code, values)
    assert {sent["network"] for sent in values["costs"]["collectives"]} == {"ICI"}


def test_slices_need_their_axis(capsys):
    assert main([*TRAINING, "--num-slices", "2", "--config.mesh.data=1"]) == 2
    assert "mesh.data=1 must be a multiple of mesh.slices=2" in capsys.readouterr().err


def test_an_override_that_does_not_fit_is_named(capsys):
    assert main([*TRAINING, "--config.btach_size=3"]) == 2
    assert "btach_size" in capsys.readouterr().err


def test_unknown_topology_is_named(capsys):
    assert main(["aot", "infer", "--topology", "v99:1x1", *SIZES]) == 2
    assert "v99:1x1" in capsys.readouterr().err


def test_a_program_too_large_for_a_chip_is_told_in_one_line(capsys):
    too_long = ["--prompt", "256", "--cache", "60000000", "--objects", "1"]
    assert main(["aot", "infer", "--config", "configs/tiny.py", *too_long]) == 1
    assert "prefill of 256 tokens: DOES NOT FIT: Ran out of memory" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize("command", [["aot", "infer", *SIZES], TRAINING[:-3]])
def test_a_chip_without_figures_is_refused_before_anything_is_compiled(command, capsys):
    assert main([*command, "--topology", "v3:2x2"]) == 2
    said = capsys.readouterr()
    assert "no figures of 'v3' chips are known here, only of v4, v5e" in said.err and said.out == ""


def test_folders_of_the_results_are_made(tmp_path):
    wanted = [tmp_path / "new" / "deep" / "step.json", None, tmp_path / "step.txt"]
    make_folders(wanted)
    assert wanted[0].parent.is_dir()
    with pytest.raises(IsADirectoryError, match="deep is a folder; name a file in it"):
        make_folders([wanted[0].parent])


def test_cache_must_hold_the_answer(capsys):
    assert main(["aot", "infer", "--prompt", "300", "--cache", "300"]) == 2
    assert "--cache 300 must exceed --prompt 300" in capsys.readouterr().err
