"""The threads a CANCEL passes through are scheduled before ordinary work, where the system lets us."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

HURRY = -10
IO_THREAD = "ZMQbg/IO"


def hurry() -> None:
    """Ask it for the calling thread and for libzmq's I/O threads; only CAP_SYS_NICE may (Linux)."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), HURRY)
        for thread in _io_threads():
            os.setpriority(os.PRIO_PROCESS, thread, HURRY)


def _io_threads() -> list[int]:
    """Their numbers: to the kernel a thread is a task with a name."""
    found = []
    for task in Path("/proc/self/task").glob("*"):
        with contextlib.suppress(OSError):  # ended meanwhile
            if (task / "comm").read_text().startswith(IO_THREAD):
                found.append(int(task.name))
    return found
