"""Threads that write checkpoints die of a full disk with pages of tracebacks; who waits for them says it in one line.

Orbax and asyncio log what they die of, Python prints it, and TensorStore prints that nobody is there to report to. All
of it is raised again by `Checkpoints.wait`.
"""

import logging
import sys
import threading
import traceback
from types import TracebackType


def told_once() -> None:
    """From now to the end of the process, as threads may die after the run has ended."""
    for name in ("absl", "asyncio"):
        logging.getLogger(name).addFilter(_worth_logging)
    threading.excepthook = _print_of_thread
    sys.unraisablehook = _print_of_c


def _worth_logging(record: logging.LogRecord) -> bool:
    """Asyncio is used by Orbax alone: what it finds never retrieved are the failures after the first."""
    if record.name == "asyncio":
        return "never retrieved" not in record.getMessage()
    return not (record.exc_info and _in_orbax(record.exc_info[2]))


def _print_of_thread(args: threading.ExceptHookArgs) -> None:
    if not _in_orbax(args.exc_traceback):
        threading.__excepthook__(args)


def _print_of_c(args: "sys.UnraisableHookArgs") -> None:
    if str(args.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(args)


def _in_orbax(trace: TracebackType | None) -> bool:
    return any("orbax" in frame.f_code.co_filename for frame, _ in traceback.walk_tb(trace))
