"""The threads a CANCEL passes through are scheduled before ordinary work, where the system lets us."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

from bus.sockets import CONTROL_IO, DATA_IO

HURRY = -10
URGENT = 1
"""The lowest real-time priority: before everything ordinary, behind everything else that is urgent."""
IO_THREAD = "ZMQbg/IO/"
"""And its number, `sockets.CONTROL_IO` or `DATA_IO`."""


def hurry() -> None:
    """Ask it for the calling thread and libzmq's I/O thread of this lane; only CAP_SYS_NICE may (Linux).

    Nice alone leaves who wakes up waiting for the others' slice, 3 ms and more on two busy cores: all
    fenced under load took 9 to 11 ms at p99 with it, 8 to 10 with the lowest real-time priority.
    """
    how = os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(URGENT)
    for thread in (threading.get_native_id(), *_io_thread(CONTROL_IO)):
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, thread, HURRY)
        with contextlib.suppress(
            PermissionError
        ):  # some containers allow the one and not the other
            os.sched_setscheduler(thread, *how)


def be_patient() -> None:
    """The calling thread and libzmq's I/O thread for sound wake up without interrupting who is at work.

    Then frames gather while the processors are busy: the broker took 14 % of a core at 25 calls, not 19.
    """
    for thread in (threading.get_native_id(), *_io_thread(DATA_IO)):
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(thread, os.SCHED_BATCH, os.sched_param(0))


def _io_thread(number: int) -> list[int]:
    """Its number: to the kernel a thread is a task with a name."""
    found = []
    for task in Path("/proc/self/task").glob("*"):
        with contextlib.suppress(OSError):  # ended meanwhile
            if (task / "comm").read_text().strip() == f"{IO_THREAD}{number}":
                found.append(int(task.name))
    return found
