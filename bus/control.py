"""The control lane of one actor: CANCEL and questions come in, acknowledgements and answers go out.

Two threads with plain blocking sockets, so that a fence never waits for media, for the event loop, or
for an engine that lets go of the GIL now and then: bus/fence_lane.py for the broadcast, this one
for the door and for what goes to turn_manager.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec
import structlog
import zmq

from bus.clock import Clock
from bus.desk import Desk
from bus.endpoints import Endpoints, claim
from bus.errors import WireError
from bus.fence_lane import FenceLane, fenced
from bus.logs import Seldom
from bus.priority import hurry
from bus.sockets import Frames, make, receive, send, wait
from bus.stamps import Stamper
from bus.wire import pack, topic_of, unpack, unpack_acked
from schemas import (
    Acked,
    AskHealth,
    CallOpened,
    Cancel,
    Event,
    Health,
    Hello,
    Refused,
    Welcome,
)

log = structlog.get_logger()
Answer = Callable[[Event], Coroutine[Any, Any, Event | None]]
MANAGER = "turn_manager"
HELLO_EVERY_MS = 500
DOOR_ALONE_MS = 1
DOOR_HWM = 10_000
DOOR_LIMIT = 1_048_576
_SERIAL = itertools.count()


class Control(threading.Thread):
    """`release(cancel, began_ns)` runs on the loop and ends in `acknowledge`; `answer(request)` too."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        where: Endpoints,
        stamper: Stamper,
        clock: Clock,
        desk: Desk,
        release: Callable[[Cancel, int], None],
        answer: Answer,
        acked: Callable[[Sequence[Acked]], None] | None = None,
    ) -> None:
        """`acked(acks)`: on the loop, the acknowledgements that have come to this door."""
        super().__init__(name=f"{stamper.source}-control", daemon=True)
        self.actor, self.inc = stamper.source, stamper.inc
        self.welcomed = asyncio.Event()
        self.calls: tuple[CallOpened, ...] = ()
        self._malformed = 0
        self._clock, self._desk = clock, desk
        self._stamper = Stamper(stamper.source, stamper.inc)
        self._release, self._answer, self._acked = release, answer, acked
        self._acks: deque[Acked] = deque()
        self._expected: dict[str, int] = {}
        self._loop = asyncio.get_running_loop()
        self._asked_ns = 0
        self._numbers = itertools.count(1)
        self._orders: deque[Callable[[], None]] = deque()
        self._stopping = False
        self._refused = Seldom("control frame refused")
        self._answering: set[asyncio.Task[None]] = set()
        self._posting = threading.Lock()
        self._open(context, where)
        self.lane = FenceLane(
            context,
            where,
            self._stamper,
            clock,
            desk,
            lambda cancel, began_ns: self._call_release(cancel, began_ns),
            lambda: self.post(self._hello),
        )

    def _open(self, context: zmq.Context[zmq.Socket[bytes]], where: Endpoints) -> None:
        wake = f"inproc://wake-{next(_SERIAL)}"  # not id(): zmq gives an address back late
        self._woken = make(context, zmq.PULL)
        self._woken.bind(wake)
        self._wake = make(context, zmq.PUSH)
        self._wake.connect(wake)
        self._door = make(context, zmq.ROUTER, DOOR_HWM, DOOR_LIMIT)
        self._door.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self._door.setsockopt(zmq.RCVTIMEO, DOOR_ALONE_MS)
        self._lock = claim(where, f"door.{self.actor}")
        self._door.bind(where[f"door.{self.actor}"])
        self._manager = make(context, zmq.DEALER, DOOR_HWM)
        self._manager.setsockopt(zmq.ROUTING_ID, self.actor.encode())
        self._manager.connect(where[f"door.{MANAGER}"])

    def start(self) -> None:
        """Both threads."""
        super().start()
        self.lane.start()

    @property
    def malformed(self) -> int:
        """How many frames of both threads were refused."""
        return self._malformed + self.lane.malformed

    def post(self, order: Callable[[], None]) -> None:
        """Have the thread do something with its sockets; called on any thread."""
        with self._posting:
            self._orders.append(order)
            self._wake.send(b"", zmq.DONTWAIT)

    def acknowledge(self, ack: Acked) -> None:
        """Send an acknowledgement; called on the loop."""
        self.post(lambda: self._tell_manager(ack))

    async def stop(self) -> None:
        """End the thread and wait for it."""

        def last_order() -> None:
            self._stopping = True

        await asyncio.get_running_loop().run_in_executor(None, self.lane.end)
        self.post(last_order)
        await asyncio.get_running_loop().run_in_executor(None, self.join)
        self._wake.close()

    def run(self) -> None:
        hurry()
        poller = zmq.Poller()
        for socket in (self._woken, self._door, self._manager):
            poller.register(socket, zmq.POLLIN)
        try:
            while not self._stopping:
                wait_ms = None if self.welcomed.is_set() else HELLO_EVERY_MS
                ready = poller.poll(wait_ms)
                if not ready:
                    self._hello()
                self._serve({socket for socket, _ in ready})
                while self._acks and not self._orders and self._at_door():
                    pass
        finally:
            for socket in (self._woken, self._door, self._manager):
                socket.close()
            if self._lock is not None:
                self._lock.close()

    def _serve(self, ready: set[object]) -> None:
        """One message of each socket that has any.

        To find a socket empty costs 15 µs (cold), which seven actors on two cores feel; poll is free.
        At the door acks come in bursts: there the emptiness is paid for by the polls saved.
        """
        if self._woken in ready:
            for _ in receive(self._woken, 1):
                while self._orders:
                    self._obeyed(self._orders.popleft())
        if self._door in ready:
            for frames in receive(self._door, 8):
                self._knock(frames)
        if self._manager in ready:
            for frames in receive(self._manager, 1):
                self._take(frames[1:], self._hear)

    def _at_door(self) -> bool:
        """While acks lie here that the loop has not taken: listen there alone, DOOR_ALONE_MS at most.

        To poll for each of seven acks costs more than to take it. And the loop, woken for the last of
        them, needs the GIL at once: blocked in one call, this thread does not want it too.
        """
        try:
            self._knock(wait(self._door))
        except zmq.Again:
            return False
        return True

    def _obeyed(self, order: Callable[[], None]) -> None:
        try:
            order()
        except Exception:  # one answer that can't be encoded must not end the lane; logged whole
            log.exception("control order failed", actor=self.actor)

    def _take(self, frames: Frames, then: Callable[[Event], None]) -> None:
        try:
            event, _ = unpack(frames)
        except WireError as error:
            self._malformed += 1
            self._refused.warn(why=str(error))
            return
        then(event)

    def _hello(self) -> None:
        """Introduce ourselves, with the fences we know; repeated until there is a welcome."""
        with self._desk.guard:
            fences = self._desk.fence.snapshot()
        self._tell_manager(Hello(actor=self.actor, inc=self.inc, pid=os.getpid(), fences=fences))

    def _fence(self, cancel: Cancel) -> None:
        """The broadcast was not heard: CANCEL came to the door."""
        began = self._clock.now()
        busy = self._desk.raise_fence(cancel.call, cancel.turn)
        took_us = (self._clock.now() - began) / 1000
        self._tell_manager(fenced(cancel, self.actor, self.inc, busy, took_us))
        if busy:
            self._call_release(cancel, began)

    def _call_release(self, cancel: Cancel, began_ns: int) -> None:
        self._loop.call_soon_threadsafe(self._release, cancel, began_ns)

    def _hear(self, event: Event) -> None:
        if isinstance(event, Welcome):
            for call, turn in event.fences.items():
                if self._desk.raise_fence(call, turn):
                    missed = Cancel(call=call, turn=turn, reason="missed while away")
                    self._call_release(missed, self._clock.now())
            self.calls = event.calls
            self._loop.call_soon_threadsafe(self.welcomed.set)

    def _tell_manager(self, event: Event) -> None:
        frames = pack(event, self._stamper(topic_of(event), self._clock.now()))
        number = next(self._numbers).to_bytes(8, "big")
        try:
            send(self._manager, [number, *frames])
        except zmq.Again:
            log.error("turn_manager's door takes no more; acknowledgement lost", event=repr(event))

    def _knock(self, frames: Frames) -> None:
        """A request at the door: [asker, number, topic, stamp, body]."""
        if len(frames) < 2 or len(frames[1]) > 16:
            self._malformed += 1
            self._refused.warn(why="no request: the asker's number is missing")
            return
        if self._acked is not None and (ack := unpack_acked(frames[2:])) is not None:
            self._collect(ack)
            return
        back = frames[:2]
        try:
            event, _ = unpack(frames[2:])
        except WireError as error:
            self._malformed += 1
            self._refused.warn(why=str(error))
            self._reply(back, Refused(why=str(error), status=400))
            return
        if isinstance(event, Cancel):
            self._fence(event)
        elif isinstance(event, AskHealth):
            self._reply(back, self._health())
        else:
            self._loop.call_soon_threadsafe(self._begin_answer, back, event)

    def _collect(self, ack: Acked) -> None:
        """Stamped when it arrives; the loop is woken for the last that is expected, else for each."""
        msgspec.structs.force_setattr(ack, "received_ns", self._clock.now())
        self._acks.append(ack)
        left = self._expected.get(ack.call, 1) - 1
        if left > 0:
            self._expected[ack.call] = left
        else:
            self._expected.pop(ack.call, None)
            self._loop.call_soon_threadsafe(self.hand_over)

    def expect(self, call: str, acks: int) -> None:
        """So many acks of that call matter together only; 0: from now on each. Called on the loop."""
        if acks:
            self._expected[call] = acks
        elif self._expected.pop(call, None) is not None:
            self.hand_over()

    def hand_over(self) -> None:
        """Tell of the acks that have come; on the loop."""
        acks = [self._acks.popleft() for _ in range(len(self._acks))]
        if acks and self._acked is not None:
            self._acked(acks)

    def _health(self) -> Health:
        """`loop_age_ms`: how long the loop has owed an answer to the previous health question."""
        now = self._clock.now()
        age = (now - self._asked_ns) / 1e6 if self._asked_ns else 0.0
        if not self._asked_ns:
            self._asked_ns = now
            self._loop.call_soon_threadsafe(self._tick)
        return Health(
            actor=self.actor,
            inc=self.inc,
            pid=os.getpid(),
            ready=self._desk.ready,
            status=200 if self._desk.ready else 503,
            detail=self._desk.detail or self._desk.state,
            loop_age_ms=age,
        )

    def _tick(self) -> None:
        self._asked_ns = 0

    def _begin_answer(self, back: Frames, event: Event) -> None:
        task = self._loop.create_task(self._answered(back, event))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answered(self, back: Frames, event: Event) -> None:
        answer: Event | None
        try:
            answer = await self._answer(event)
        except Exception as error:  # the asker is told, the log has it whole
            log.exception("no answer", on=type(event))
            answer = Refused(why=f"{self.actor} failed on it: {error!r}", status=500)
        if answer is not None:
            reply = answer
            self.post(lambda: self._reply(back, reply))

    def _reply(self, back: Frames, event: Event) -> None:
        frames = pack(event, self._stamper(topic_of(event), self._clock.now()))
        try:
            send(self._door, [*back, *frames])
        except (zmq.Again, zmq.ZMQError) as error:
            log.warning("asker is gone", why=str(error))
