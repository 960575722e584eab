"""Asking a door: a request goes in, the actor's answer comes out. For tools, which may wait."""

from __future__ import annotations

import os
import time
import uuid
from contextlib import closing

import zmq

from bus.endpoints import Endpoints
from bus.errors import NoAnswer
from bus.sockets import make
from bus.stamps import Stamper
from bus.wire import pack, topic_of, unpack
from schemas import Event


def ask(
    where: Endpoints,
    door: str,
    request: Event,
    timeout_s: float = 1.0,
    context: zmq.Context[zmq.Socket[bytes]] | None = None,
) -> Event:
    """Ask the actor `door` and wait at most `timeout_s`. Raises NoAnswer."""
    context = context or zmq.Context.instance()
    name = f"ask-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    with closing(make(context, zmq.DEALER)) as socket:
        socket.setsockopt(zmq.ROUTING_ID, name.encode())
        socket.connect(where[f"door.{door}"])
        stamp = Stamper(name)(topic_of(request), time.monotonic_ns())
        number = uuid.uuid4().bytes[:8]
        socket.send_multipart([number, *pack(request, stamp)])
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0 and socket.poll(int(left * 1000) + 1):
            frames = socket.recv_multipart()
            if frames[0] == number:
                return unpack(frames[1:])[0]
    raise NoAnswer(
        f"{door} did not answer within {timeout_s:g} s; see `bargein status` and var/log/{door}.log"
    )
