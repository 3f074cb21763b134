"""Processes whose run folder is not one and the same: each would write a part of a checkpoint that none can read."""

import pytest
import train_process


@pytest.mark.slow
def test_processes_that_do_not_share_the_runs_folder_end_before_the_first_step(tmp_path):
    many = ("--coordinator", f"127.0.0.1:{train_process.free_port()}", "--processes", "2", "--process")
    runs = [train_process.start(tmp_path / str(i), *many, str(i)) for i in range(2)]
    for i, run in enumerate(runs):
        code, said = train_process.ended(run)
        assert code != 0 and "Traceback" not in said, said
        assert f"workdir={tmp_path / str(i)}: is not the same folder for all processes" in said
        assert not train_process.steps_done(tmp_path / str(i))
