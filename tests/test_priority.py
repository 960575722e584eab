"""Who carries a CANCEL goes before ordinary work, if the system allows it; what it starts does not."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

import zmq

from bus.priority import URGENT, _io_thread, hurry
from bus.sockets import CONTROL_IO, DATA_IO, Context, fleet_context, make

Policy = tuple[int, int]
MOST_IO = 8
"""No context here has more I/O threads."""


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


def test_libzmq_s_thread_of_the_control_lane_hurries_too_and_no_other() -> None:
    with fleet_context() as context:
        for io in (CONTROL_IO, DATA_IO):
            carry_one(context, io)
        allowed = in_a_thread(first=True)[0]
        assert {policy(thread) for thread in _io_thread(CONTROL_IO)} == {allowed}
        assert {policy(thread) for thread in other_io_threads()} == {(os.SCHED_OTHER, 0)}


def carry_one(context: Context, io: int) -> None:
    """A thread of libzmq has its name once it has carried something."""
    with make(context, zmq.PULL, io=io) as pull, make(context, zmq.PUSH, io=io) as push:
        push.connect(f"tcp://127.0.0.1:{pull.bind_to_random_port('tcp://127.0.0.1')}")
        push.send(b"")
        assert pull.recv() == b""


def other_io_threads() -> set[int]:
    named = {thread for number in range(MOST_IO) for thread in _io_thread(number)}
    return named - set(_io_thread(CONTROL_IO))
