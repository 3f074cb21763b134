"""Results appear whole or not at all, whatever ends the run that writes them."""

import os
import resource
import signal
import subprocess
import sys
import textwrap

import pytest

from vglamm_jax.convert.publish import NoRoomError, no_room_reason, publishing, require_space


def fill(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(name)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def killed(dest, how):
    """Replaces `dest` in another process, which is killed; `how` says when."""
    program = f"""
        import os, signal
        from pathlib import Path
        from vglamm_jax.convert import publish
        kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        with publish.publishing({str(dest)!r}, overwrite=True) as partial:
            partial.mkdir()
            (partial / "new").write_text("half")
            {how}
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_folder_and_file_appear_at_the_end(tmp_path):
    with publishing(tmp_path / "deep" / "weights") as partial:
        fill(partial, "a", "b")
        (partial / "inner").mkdir()
        assert partial.parent == tmp_path / "deep" and partial.name.startswith(".weights.partial-")
        assert not (tmp_path / "deep" / "weights").exists()
    assert names(tmp_path / "deep" / "weights") == ["a", "b", "inner"] and names(tmp_path / "deep") == ["weights"]
    with publishing(tmp_path / "sam2.pt") as partial:
        partial.write_text("tensors")
    assert (tmp_path / "sam2.pt").read_text() == "tensors"


def test_what_is_there_stays_unless_told(tmp_path):
    dest = tmp_path / "weights"
    fill(dest, "old")
    with pytest.raises(FileExistsError, match="weights: exists already"), publishing(dest):
        pytest.fail("it must not begin")
    with publishing(dest, overwrite=True) as partial:
        fill(partial, "new")
        assert names(dest) == ["old"]
    assert names(dest) == ["new"]
    with publishing(dest, overwrite=True) as partial:
        partial.write_text("a file in the place of a folder")
    assert dest.is_file() and names(tmp_path) == ["weights"]
    (tmp_path / "empty").mkdir()
    with publishing(tmp_path / "empty") as partial:
        fill(partial, "new")
        fill(tmp_path / "other", "x")
    assert names(tmp_path / "empty") == ["new"]
    with pytest.raises(FileExistsError, match="late: exists already"), publishing(tmp_path / "late") as partial:
        fill(partial, "new")
        fill(tmp_path / "late", "somebody was faster")
    assert names(tmp_path / "late") == ["somebody was faster"]


def test_a_link_keeps_leading_to_the_result(tmp_path):
    fill(tmp_path / "disk", "old")
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    with publishing(tmp_path / "link", overwrite=True) as partial:
        fill(partial, "new")
    assert (tmp_path / "link").is_symlink() and names(tmp_path / "disk") == ["new"]


@pytest.mark.parametrize("error", [ValueError("bad tensor"), KeyboardInterrupt()])
def test_an_error_leaves_everything_as_it_was(tmp_path, error):
    fill(tmp_path / "weights", "old")
    with pytest.raises(type(error)), publishing(tmp_path / "weights", overwrite=True) as partial:
        fill(partial, "new")
        raise error
    assert names(tmp_path) == ["weights"] and names(tmp_path / "weights") == ["old"]


@pytest.mark.parametrize(
    "how",
    ["kill()", "publish.sync = kill", "Path.replace = kill", "publish.remove = kill"],
    ids=["writing", "written", "between renames", "cleaning up"],
)
def test_killed_runs_are_cleaned_up_by_the_next(tmp_path, how):
    dest = tmp_path / "weights"
    fill(dest, "old")
    killed(dest, how)
    assert len(names(tmp_path)) > 1
    expected = "new" if "remove" in how else "old"
    with pytest.raises(FileExistsError, match="exists already"), publishing(dest):
        pytest.fail("it must not begin")
    assert names(tmp_path) == ["weights"] and names(dest) == [expected]


def test_only_what_dead_processes_left_is_removed(tmp_path):
    dest, host = tmp_path / "weights", os.uname().nodename
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    alive = os.getppid()
    for name in (f"{host}-{dead.pid}", f"{host}-{os.getpid()}", f"{host}-{alive}", f"elsewhere-{dead.pid}"):
        fill(tmp_path / f".weights.partial-{name}", "x")
    fill(tmp_path / f".weights2.partial-{host}-{dead.pid}", "of another place")
    with publishing(dest) as partial:
        fill(partial, "new")
        with pytest.raises(FileExistsError, match="by this very process"), publishing(dest):
            pytest.fail("it must not begin")
    kept = [f".weights.partial-{host}-{alive}", f".weights.partial-elsewhere-{dead.pid}"]
    assert names(tmp_path) == sorted([*kept, f".weights2.partial-{host}-{dead.pid}", "weights"])


def test_a_full_disk_is_one_clear_line(tmp_path):
    """The limit on the size of a file gives the error of a quota, from the same call as a full disk."""
    fill(tmp_path / "weights", "old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    line = r"weights: File too large: 50,000 bytes needed, [\d,]+ free on its disk; make room or choose another place$"
    with pytest.raises(NoRoomError, match=line) as caught:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20000, before[1]))
            with publishing(tmp_path / "weights", overwrite=True, needed_bytes=50000) as partial:
                partial.mkdir()
                (partial / "tensors").write_bytes(bytes(50000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert isinstance(caught.value, OSError) and "\n" not in str(caught.value)
    assert names(tmp_path) == ["weights"] and names(tmp_path / "weights") == ["old"]


def test_other_libraries_full_disk(tmp_path):
    line = r"x: No space left on device: more than the 4 bytes written are needed"
    with pytest.raises(NoRoomError, match=line), publishing(tmp_path / "x") as partial:
        partial.write_text("some")
        try:
            raise OSError("INTERNAL: write failed: No space left on device [driver=file]")
        except OSError as error:
            raise RuntimeError("cannot save") from error
    assert names(tmp_path) == [] and no_room_reason(ValueError("no such tensor")) is None


def test_room_is_asked_for_first(tmp_path):
    require_space(tmp_path / "not" / "yet", 1000)
    line = r"big: Not enough room: 9,000,000,000,000,000 bytes needed, [\d,]+ free"
    with pytest.raises(NoRoomError, match=line), publishing(tmp_path / "big", needed_bytes=9 * 10**15):
        pytest.fail("it must not begin")
    assert names(tmp_path) == []
