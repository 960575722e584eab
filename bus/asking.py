"""Asking a door from an event loop: requests go in, the actor's answers come out; see bus/ask.py."""

from __future__ import annotations

import asyncio
import itertools
import os
import uuid

import zmq

from bus.clock import Clock, MonotonicClock
from bus.endpoints import Endpoints
from bus.errors import NoAnswer, WireError
from bus.sockets import Frames, Reader, make, send
from bus.stamps import Stamper
from bus.wire import pack, topic_of, unpack
from schemas import Event

QUEUE = 64


class Asker:
    """A connection to one door, for an actor. Many questions may be under way at once."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        where: Endpoints,
        door: str,
        clock: Clock | None = None,
    ) -> None:
        name = f"ask-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._door, self._clock = door, clock or MonotonicClock()
        self._stamper = Stamper(name)
        self._numbers = itertools.count(1)
        self._waiting: dict[bytes, asyncio.Future[Event]] = {}
        self._socket = make(context, zmq.DEALER, QUEUE)
        self._socket.setsockopt(zmq.ROUTING_ID, name.encode())
        self._socket.connect(where[f"door.{door}"])
        self._reader = Reader(self._socket, self._take)

    async def ask(self, request: Event, timeout_s: float = 1.0) -> Event:
        """Ask and wait at most `timeout_s`. Raises NoAnswer."""
        number = next(self._numbers).to_bytes(8, "big")
        answer: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            stamp = self._stamper(topic_of(request), self._clock.now())
            send(self._socket, [number, *pack(request, stamp)])
            self._reader.drain()  # sending uses up the socket's edge
            async with asyncio.timeout(timeout_s):
                return await answer
        except (TimeoutError, zmq.Again):
            raise NoAnswer(f"{self._door} did not answer within {timeout_s:g} s") from None
        finally:
            del self._waiting[number]

    def close(self) -> None:
        """Close the socket; who still waits hears nothing any more."""
        self._reader.close()
        self._socket.close()

    def _take(self, frames: Frames) -> None:
        waiting = self._waiting.get(frames[0])
        if waiting is None or waiting.done():
            return
        try:
            waiting.set_result(unpack(frames[1:])[0])
        except WireError as error:
            waiting.set_exception(NoAnswer(f"{self._door} answered what is no event: {error}"))
