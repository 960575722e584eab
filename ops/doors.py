"""Many doors at once: one request goes to every actor, the answers come back as they arrive."""

from __future__ import annotations

import itertools
import os
import time
import uuid
from collections.abc import Iterable

import zmq

from bus.endpoints import Endpoints
from bus.errors import WireError
from bus.sockets import make, receive
from bus.stamps import Stamper
from bus.wire import pack, topic_of, unpack
from schemas import Event

QUEUE = 4


class Doors:
    """A DEALER per actor. Nothing is queued for an actor that is not there (IMMEDIATE)."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], where: Endpoints, actors: Iterable[str]
    ) -> None:
        self._stamper = Stamper(f"doors-{os.getpid()}-{uuid.uuid4().hex[:8]}")
        self._numbers = itertools.count(1)
        self.sockets: dict[str, zmq.Socket[bytes]] = {}
        for actor in actors:
            socket = make(context, zmq.DEALER, QUEUE)
            socket.setsockopt(zmq.IMMEDIATE, 1)
            socket.setsockopt(zmq.ROUTING_ID, self._stamper.source.encode())
            socket.connect(where[f"door.{actor}"])
            self.sockets[actor] = socket

    def ask(self, actor: str, request: Event) -> bool:
        """Send a request; False when there is no door to take it. Never waits."""
        number = next(self._numbers).to_bytes(8, "big")
        stamp = self._stamper(topic_of(request), time.monotonic_ns())
        try:
            self.sockets[actor].send_multipart([number, *pack(request, stamp)], zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def answers(self, actor: str) -> list[Event]:
        """What has come back through one door. Never waits; what is no event is left out."""
        found: list[Event] = []
        for frames in receive(self.sockets[actor]):
            try:
                found.append(unpack(frames[1:])[0])
            except WireError:
                continue
        return found

    def survey(self, request: Event, timeout_s: float) -> dict[str, Event]:
        """Ask every actor; the answers that came in time. Asks again while a door is not there."""
        found: dict[str, Event] = {}
        asked: set[str] = set()
        poller = zmq.Poller()
        for socket in self.sockets.values():
            poller.register(socket, zmq.POLLIN)
        deadline = time.monotonic() + timeout_s
        while len(found) < len(self.sockets) and time.monotonic() < deadline:
            asked |= {name for name in self.sockets.keys() - asked if self.ask(name, request)}
            poller.poll(10)
            for name in self.sockets.keys() - found.keys():
                for answer in self.answers(name)[-1:]:
                    found[name] = answer
        return found

    def close(self) -> None:
        """Close all."""
        for socket in self.sockets.values():
            socket.close()
