"""The broker process: what publishers send on a lane's XSUB comes out at its XPUB."""

from __future__ import annotations

import signal
import sys
import threading
from typing import IO

import zmq

from bus.endpoints import Endpoints, claim
from bus.errors import BargeinError
from bus.link import Marks
from bus.priority import be_patient
from bus.sockets import CONTROL_IO, DATA_IO, fleet_context, make

LANES = ("events", "media")


class Broker:
    """Two proxies, each on a thread of libzmq that never takes the GIL.

    Publishers are told to send everything (an empty subscription), so that a subscriber who has
    heard its own echo hears everybody.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], where: Endpoints, marks: Marks | None = None
    ) -> None:
        self._context = context
        marks = marks or Marks()
        self._locks: list[IO[str] | None] = []
        self._threads = []
        for lane in LANES:
            hwm = marks.events if lane == "events" else marks.media
            limit = marks.max_frame_bytes * 2
            io = DATA_IO if lane == "media" else CONTROL_IO
            inward = make(context, zmq.XSUB, hwm, limit, io)
            outward = make(context, zmq.XPUB, hwm, io=io)
            self._locks.append(claim(where, f"{lane}.in"))
            inward.bind(where[f"{lane}.in"])
            outward.bind(where[f"{lane}.out"])
            self._threads.append(
                threading.Thread(target=relay, args=(lane, inward, outward), name=lane)
            )

    def start(self) -> None:
        """Begin relaying."""
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait for the end, which comes with the end of the context."""
        for thread in self._threads:
            thread.join()
        for lock in self._locks:
            if lock is not None:
                lock.close()


def relay(lane: str, inward: zmq.Socket[bytes], outward: zmq.Socket[bytes]) -> None:
    """Pass messages one way and subscriptions the other until the context ends."""
    try:
        if lane == "media":
            be_patient()
        inward.send(b"\x01")
        zmq.proxy(inward, outward)
    except zmq.ContextTerminated:
        pass
    finally:
        inward.close()
        outward.close()


def main() -> int:
    """Run until SIGTERM."""
    from bus.settings import load

    try:
        settings = load()
        marks = Marks(settings.bus.events_hwm, settings.bus.media_hwm, settings.bus.max_frame_bytes)
        context = fleet_context()
        broker = Broker(context, Endpoints(settings.run_dir), marks)
    except BargeinError as error:
        print(f"broker: {error}", file=sys.stderr)
        return error.exit_code
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    broker.start()
    done.wait()
    context.term()
    broker.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())
