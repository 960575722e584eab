"""Listening in on all three lanes: raw frames come out, with the time they were heard.

For tap, record and the warden. It is one more subscriber: a slow or dead one loses its own copies
and slows nobody.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import NamedTuple

import zmq

from bus.endpoints import Endpoints
from bus.sockets import Frames, make, receive
from bus.wire import Lane, pack, prefix
from schemas import Probe, RollCall, Stamp

HWM = 50_000
ROLL_CALL_S = 0.5
"""turn_manager answers a roll call within milliseconds; if it is down, its lane is silent."""


class Heard(NamedTuple):
    """One message: when it was heard (monotonic ns), on which lane, its frames."""

    at_ns: int
    lane: Lane
    frames: Frames


class Wiretap:
    """Plain sockets for one thread. `open` returns once every lane is proven to be heard."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], where: Endpoints, media: bool = True
    ) -> None:
        self.name = f"tap-{uuid.uuid4().hex[:8]}"
        lanes: tuple[Lane, ...] = ("events", "media") if media else ("events",)
        self._sub: dict[Lane, zmq.Socket[bytes]] = {}
        self._pub: dict[Lane, zmq.Socket[bytes]] = {}
        self._poller = zmq.Poller()
        for lane in lanes:
            self._listen(context, lane, where[f"{lane}.out"])
            self._pub[lane] = make(context, zmq.PUB, HWM)
            self._pub[lane].connect(where[f"{lane}.in"])
        self._listen(context, "control", where["cancel"])
        self._sub["control"].subscribe(prefix(RollCall, self.name))

    def _listen(self, context: zmq.Context[zmq.Socket[bytes]], lane: Lane, address: str) -> None:
        socket = self._sub[lane] = make(context, zmq.SUB, HWM)
        socket.connect(address)
        socket.subscribe(b"")
        self._poller.register(socket, zmq.POLLIN)

    def open(self, timeout_s: float = 5.0) -> bool:
        """Echo on the data lanes, a roll call on the control lane; False when the broker is silent."""
        deadline = time.monotonic() + timeout_s
        waiting: set[Lane] = set(self._pub)
        stamp = Stamp(source=self.name, inc=0, seq=0, at_ns=0)
        while waiting and time.monotonic() < deadline:
            for lane in waiting:
                self._pub[lane].send_multipart(pack(Probe(actor=self.name, nonce=0), stamp))
            waiting -= {heard.lane for heard in self.read(10) if self._is_mine(heard)}
        deadline = time.monotonic() + ROLL_CALL_S
        while not waiting and time.monotonic() < deadline:
            if any(heard.lane == "control" for heard in self.read(10)):
                break
        return not waiting

    def _is_mine(self, heard: Heard) -> bool:
        return heard.frames[0] == prefix(Probe) and self.name.encode() in heard.frames[1]

    def read(self, timeout_ms: int) -> Iterator[Heard]:
        """What has come, waiting `timeout_ms` at most when there is nothing; control lane first."""
        ready = dict(self._poller.poll(timeout_ms))
        for lane in ("control", "events", "media"):
            socket = self._sub.get(lane)
            if socket is not None and socket in ready:
                for frames in receive(socket):
                    yield Heard(time.monotonic_ns(), lane, frames)

    def close(self) -> None:
        """Close the sockets."""
        for socket in (*self._sub.values(), *self._pub.values()):
            socket.close()
