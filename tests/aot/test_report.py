"""The report of a compiled step: on the screen, as JSON, as a table in a Markdown file."""

from types import SimpleNamespace

import numpy as np
import pytest
from hlo_snippets import chips, estimated, module

from vglamm_jax.aot import report
from vglamm_jax.aot.compiling import Compiled
from vglamm_jax.chips import GIB, of_topology

V5E = of_topology("v5e")
CYCLES = 3_000_000  # 2 ms
TEXT = module(
    f"""
    %a = bf16[1048576]{{0}} parameter(0), metadata={{op_name="a" stack_frame_id=1}}
    %n = bf16[1048576]{{0}} negate(%a), metadata={{op_name="jit(step)/neg" stack_frame_id=1}}, {estimated(CYCLES)}
    ROOT %g = bf16[4194304]{{0}} all-gather(%n), replica_groups={{{{0,1,2,3}}}}, dimensions={{0}}"""
)


@pytest.fixture
def found():
    devices = np.empty((1, 4, 1), object)
    devices[0, :, 0] = chips(2, 2)
    mesh = SimpleNamespace(shape={"data": 1, "fsdp": 4, "tensor": 1}, devices=devices)
    sizes = {"arguments": GIB, "outputs": 0, "temporaries": 2 * GIB, "peak": 3 * GIB, "code": GIB // 8}
    program = Compiled(**sizes, seconds=12.0, complaints=("a complaint",), hlo=TEXT)
    # 1 ms of each chip's peak.
    return report.result(
        "train_lora", "v5e:2x2", 1, mesh, 8, program, {"llm": 3e-3 * V5E.flops, "clip": 1e-3 * V5E.flops}
    )


def test_figures(found):
    assert found.fits and found.devices == 4 and found.least == pytest.approx(1e-3)
    assert found.costs.compute == pytest.approx(CYCLES / V5E.clock)
    assert found.mfu == pytest.approx(1e-3 / found.costs.overlapped)
    assert found.costs.step == pytest.approx(found.costs.compute + found.costs.sending)
    assert 0 < found.share_sending < 0.1


def test_show_tells_all(found, capsys):
    report.show(found)
    said = capsys.readouterr().out
    for part in (
        "train_lora on v5e:2x2: 4 devices, data 1, fsdp 4, tensor 1; 8 rows a step",
        "1.00 arguments, 2.00 temporaries, 0.12 program, 3.00 peak GiB a device; 15.75 usable: fits",
        "(llm 75%, clip 25%)",
        "compute      2.0 ms",
        "all-gather          ICI        1 runs     0.006 GB sent",
        "1 x 3000000  vglamm_jax/models/llm.py:120  n neg",
        "note: a complaint",
    ):
        assert part in said


def test_comes_back_from_json(found, tmp_path):
    report.save(found, tmp_path / "results" / "lora.json")
    assert report.load(tmp_path / "results" / "lora.json") == found
    (tmp_path / "other.json").write_text('{"costs": {}}')
    with pytest.raises(ValueError, match=r"other\.json is no result of `vglamm aot train --json`"):
        report.load(tmp_path / "other.json")


def test_table_replaces_the_one_before(found, tmp_path):
    page = tmp_path / "README.md"
    page.write_text(f"before\n{report.BEGIN}\n| old |\n{report.END}\nafter\n")
    for _ in range(2):
        report.write_table([found, found], page)
    lines = page.read_text().splitlines()
    assert lines[0] == "before" and lines[-1] == "after" and "| old |" not in lines
    rows = [
        line for line in lines if line.startswith("| v5e:2x2 | train_lora | fsdp 4 | 8 | 1.00 | 2.00 | 3.00 | yes |")
    ]
    assert len(rows) == 2 and all(line.count("|") == len(report.COLUMNS) + 1 for line in lines[2:6])


def test_page_without_a_place_for_the_table(found, tmp_path):
    page = tmp_path / "README.md"
    page.write_text("nothing here\n")
    with pytest.raises(ValueError, match=r"README\.md has no place for the table: add the lines"):
        report.write_table([found], page)
