"""The command line: help that teaches without loading JAX, and exit codes."""

import subprocess
import sys

import pytest

from vglamm_jax.cli import main
from vglamm_jax.data.media import VideoError

COMMANDS = ["ask", "demo", "convert", "train", "data", "parity", "bench", "aot"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 5


def test_help_lists_every_command_and_examples(capsys):
    assert main([]) == 2
    shown = capsys.readouterr().out
    assert all(f"  {command} " in shown or f"vglamm {command}" in shown for command in COMMANDS)
    assert "examples:" in shown


def test_help_loads_neither_jax_nor_torch():
    code = "import sys; from vglamm_jax.cli import make_parser; make_parser(); print({'jax', 'torch'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_an_error_is_one_line_unless_a_traceback_is_wanted(tmp_path, capsys):
    arguments = ["ask", str(tmp_path / "a.mp4"), "What?", "--checkpoint", str(tmp_path)]
    assert main(arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("vglamm: error:") and str(tmp_path) in lines[0]
    with pytest.raises(VideoError):
        main(["--traceback", *arguments])
