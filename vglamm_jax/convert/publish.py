"""Whole results or none: written beside their place, renamed into it at the end.

While `weights/` is being written it is `.weights.partial-HOST-PID`; an earlier `weights/` that it replaces is
`.weights.replaced-HOST-PID` for a moment. A run that was killed leaves one of these behind, and the next run
for the same place puts things right: see `recover`.
"""

import errno
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL, REPLACED = "partial", "replaced"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_ROOM_WORDS = ("no space left on device", "disk quota exceeded", "file too large", "not enough space")
_being_written: set[Path] = set()  # by this process


class NoRoomError(OSError):
    """Not enough room on a disk; the message names the place, the bytes needed and the bytes free."""


@contextmanager
def publishing(dest: str | Path, *, overwrite: bool = False, needed_bytes: int | None = None) -> Iterator[Path]:
    """A path to write a folder or a file to; it becomes `dest` if all goes well, and is removed if anything fails.

        with publishing("weights", needed_bytes=checkpoint.nbytes) as folder:
            write_safetensors(folder, checkpoint.tensors)

    Nothing exists at the path yet. What is there at the end is on the disk before it is renamed.

    Args:
      dest: what is there stays until the new is complete. An empty folder counts as nothing.
      overwrite: replace what is there; otherwise it is refused.
      needed_bytes: checked against the free room before anything is written.

    Raises:
      FileExistsError: `dest` holds something and `overwrite` is not set, or it cannot be renamed.
      NoRoomError: the disk is too small or filled up, whichever library noticed.
    """
    dest = Path(os.path.realpath(dest))  # a link keeps leading to the result
    dest.parent.mkdir(parents=True, exist_ok=True)
    recover(dest)
    _refuse(dest, overwrite)
    if needed_bytes is not None:
        require_space(dest, needed_bytes)
    partial = _beside(dest, PARTIAL)
    if partial in _being_written:
        raise FileExistsError(f"{dest}: is being written by this very process")
    _being_written.add(partial)
    written = 0
    try:
        yield partial
        written = size(partial)
        sync(partial)
        _refuse(dest, overwrite)  # somebody may have been faster
        _swap_in(partial, dest)
    except BaseException as error:
        written = written or size(partial)
        remove(partial)
        reason = no_room_reason(error)
        if reason is None or isinstance(error, NoRoomError):
            raise
        raise _no_room(dest, reason, needed_bytes, written) from error
    finally:
        _being_written.discard(partial)


def require_space(dest: str | Path, needed_bytes: int) -> None:
    """Raises NoRoomError, with both numbers, unless the disk of `dest` has `needed_bytes` free."""
    if _free(Path(dest)) < needed_bytes:
        raise _no_room(Path(dest), "Not enough room", needed_bytes)


def recover(dest: Path) -> None:
    """Puts right what killed runs left beside `dest`: half-written results go, a result taken away comes back.

    What processes write that are alive, or that ran on another machine, is left alone.
    """
    for left in _left_behind(dest, REPLACED):
        if dest.exists():
            remove(left)
        else:
            left.rename(dest)
    for left in _left_behind(dest, PARTIAL):
        remove(left)


def no_room_reason(error: BaseException | None) -> str | None:
    """What an error of any library, or the one behind it, says about a full disk or quota; None if nothing."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            return os.strerror(error.errno)
        found = next((words for words in NO_ROOM_WORDS if words in str(error).lower()), None)
        if found is not None:
            return found.capitalize()
        error = error.__cause__ or error.__context__
    return None


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 if there is nothing."""
    if path.is_dir():
        return sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())
    return path.lstat().st_size if path.exists() else 0


def remove(path: Path) -> None:
    """A file, a link or a folder with all it holds; nothing there is fine too."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)  # the next run tries again
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Waits until a file, or a folder with all it holds, is on the disk."""
    for inner in [path, *(path.rglob("*") if path.is_dir() else ())]:
        if not inner.is_symlink():
            _sync_one(inner)


def _sync_one(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _refuse(dest: Path, overwrite: bool) -> None:
    if dest.is_mount():
        raise FileExistsError(f"{dest}: is where a disk is mounted and cannot be renamed; name a folder inside it")
    if dest.exists() and not overwrite and not (dest.is_dir() and next(dest.iterdir(), None) is None):
        raise FileExistsError(f"{dest}: exists already; choose another name, or pass overwrite to replace it")


def _swap_in(partial: Path, dest: Path) -> None:
    """A file is replaced by the rename itself; a folder is set aside first."""
    replaced = None
    if dest.exists() and not (dest.is_file() and partial.is_file()):
        replaced = _beside(dest, REPLACED)
        dest.rename(replaced)
    try:
        partial.replace(dest)
    except BaseException:
        if replaced is not None:
            replaced.rename(dest)
        raise
    _sync_one(dest.parent)
    if replaced is not None:
        remove(replaced)


def _beside(dest: Path, kind: str) -> Path:
    return dest.with_name(f".{dest.name}.{kind}-{socket.gethostname()}-{os.getpid()}")


def _left_behind(dest: Path, kind: str) -> list[Path]:
    start = f".{dest.name}.{kind}-{socket.gethostname()}-"
    found = [path for path in dest.parent.iterdir() if path.name.startswith(start)]
    return sorted(path for path in found if path not in _being_written and not _alive(path.name[len(start) :]))


def _alive(pid: str) -> bool:
    """A number of our own is left from a process before us."""
    if not pid.isdecimal():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return int(pid) != os.getpid()


def _free(path: Path) -> int:
    there = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    return shutil.disk_usage(there).free


def _no_room(dest: Path, reason: str, needed: int | None, written: int = 0) -> NoRoomError:
    want = f"{needed:,} bytes needed" if needed is not None else f"more than the {written:,} bytes written are needed"
    error = NoRoomError(
        f"{dest}: {reason}: {want}, {_free(dest):,} free on its disk; make room or choose another place"
    )
    error.errno = errno.ENOSPC
    return error
