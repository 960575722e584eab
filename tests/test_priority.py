"""Who carries a CANCEL goes before ordinary work, if the system allows it; what it starts does not."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

import zmq

from bus.priority import URGENT, _io_threads, hurry

Policy = tuple[int, int]


def policy(thread: int) -> Policy:
    return os.sched_getscheduler(thread), os.sched_getparam(thread).sched_priority


def in_a_thread(first: bool) -> list[Policy]:
    """Of a thread that hurries, or asks for the same itself, and of what it starts afterwards."""
    found: list[Policy] = []

    def run() -> None:
        if first:
            hurry()
        else:
            with suppress(PermissionError):
                how = os.SCHED_RR | os.SCHED_RESET_ON_FORK
                os.sched_setscheduler(0, how, os.sched_param(URGENT))
        found.append(policy(threading.get_native_id()))
        child = threading.Thread(target=lambda: found.append(policy(threading.get_native_id())))
        child.start()
        child.join()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found


def test_it_hurries_as_far_as_it_may_and_nobody_inherits_it() -> None:
    before = policy(threading.get_native_id())
    allowed = in_a_thread(first=False)
    assert in_a_thread(first=True) == allowed
    assert allowed[1] == (os.SCHED_OTHER, 0)
    assert policy(threading.get_native_id()) == before


def test_libzmq_s_threads_hurry_too() -> None:
    with zmq.Context() as context, context.socket(zmq.PUB):
        threads = _io_threads()
        assert threads
        allowed = in_a_thread(first=True)[0]
        assert {policy(thread) for thread in _io_threads()} == {allowed}
