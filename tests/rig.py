"""The rest of the agent, seen from one actor: in-proc sockets, no process, no port."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import zmq

from bus.broker import Broker
from bus.clock import Clock, MonotonicClock
from bus.control import MANAGER, Control
from bus.desk import Desk
from bus.endpoints import Endpoints
from bus.link import Link
from bus.rounds import Budget, Rounds
from bus.runtime import Actor, Runtime
from bus.stamps import Stamper
from schemas import CallOpened, Cancel, Event, Hello, Stamp, TurnCancelled, Welcome

serial = itertools.count()
PATIENCE_S = 40.0
E = TypeVar("E", bound=Event)
Context = zmq.Context[zmq.Socket[bytes]]


class Rig:
    """A broker, a turn_manager's side of the control lane, and one listener for what is published.

    `await rig.heard(Kind)` waits for the next event of a kind; what else came stays in `events`.
    `replies`: what turn_manager's door answers, by kind of question.
    """

    def __init__(self, context: Context, roster: tuple[str, ...]) -> None:
        self.context = context
        self.where = Endpoints(f"inproc://rig{next(serial)}")
        self.broker = Broker(context, self.where)
        self.events: list[tuple[Event, Stamp]] = []
        self.hellos: list[Hello] = []
        self.fences: dict[str, int] = {}
        self.calls: tuple[CallOpened, ...] = ()
        self.roster = roster
        self.replies: dict[type[Event], Event] = {}
        self.clock: Clock = MonotonicClock()
        self._news = asyncio.Condition()
        self._seen = 0

    async def open(self, *hears: type[Event], budget: Budget | None = None) -> None:
        """Start the broker, listen, and take turn_manager's place."""
        self.broker.start()
        self.stamper = Stamper(MANAGER, 1)
        self.link = Link(self.context, self.where, self.stamper, self.clock)
        await self.link.listen(hears, self._take)
        self.desk = Desk()
        self.rounds = Rounds(
            self.context,
            self.where,
            self.roster,
            self.stamper,
            self.clock,
            self.desk,
            publish=self._publish_round,
            budget=budget,
        )
        self.control = Control(
            self.context,
            self.where,
            self.stamper,
            self.clock,
            self.desk,
            release=lambda *_: None,
            answer=self._answer,
            acked=self.rounds.acknowledged,
        )
        self.control.start()

    async def close(self) -> None:
        """Everything down again."""
        await self.control.stop()
        await self.rounds.close()
        self.link.close()

    async def _answer(self, request: Event) -> Event | None:
        if isinstance(request, Hello):
            self.hellos.append(request)
            return Welcome(fences=self.fences, calls=self.calls)
        return self.replies.get(type(request))

    def _publish_round(self, event: Event, at_ns: int) -> None:
        self._take(event, self.stamper(b"round", at_ns))

    def _take(self, event: Event, stamp: Stamp) -> None:
        self.events.append((event, stamp))
        _soon(self._tell())

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    def publish(self, *events: Event) -> None:
        """Say something as another actor would."""
        for event in events:
            self.link.publish(event)

    def past(self, kind: type[E]) -> list[E]:
        """What was heard of a kind until now."""
        return [event for event, _ in self.events if isinstance(event, kind)]

    async def heard(self, kind: type[E], count: int = 1, **fields: Any) -> E:
        """Wait until `count` events of a kind (with these fields) were heard; the last of them."""

        def found() -> list[E]:
            return [
                event
                for event in self.past(kind)
                if all(getattr(event, name) == value for name, value in fields.items())
            ]

        async with self._news:
            await self._news.wait_for(lambda: len(found()) >= count)
        return found()[count - 1]

    async def cancel(self, call: str, turn: int, reason: str = "test") -> TurnCancelled:
        """A whole round; its table."""
        count = len(self.past(TurnCancelled)) + 1
        await self.rounds.cancel(call, turn, reason, time.monotonic_ns())
        return await self.heard(TurnCancelled, count)

    def shout(self, cancel: Cancel) -> None:
        """A CANCEL without a round."""
        self.rounds._send(cancel, self.clock.now())

    @asynccontextmanager
    async def running(self, actor: Actor, **options: Any) -> AsyncIterator[Runtime]:
        """The actor under test, ready."""
        async with Runtime(actor, self.context, self.where, **options) as runtime:
            yield runtime


async def door_is_free(agent: Rig, name: str) -> None:
    """An in-proc address is given back by zmq's own thread, some time after its socket was closed."""
    address = agent.where[f"door.{name}"]
    with agent.context.socket(zmq.ROUTER) as probe:
        while True:
            try:
                probe.bind(address)
            except zmq.ZMQError:
                await asyncio.sleep(0)
            else:
                return probe.unbind(address)


async def until(fact: Callable[[], bool]) -> None:
    """Let the loop run until `fact` holds: for what has no event of its own."""
    while not fact():  # noqa: ASYNC110 - nobody would set an Event
        await asyncio.sleep(0)


_tasks: set[asyncio.Task[None]] = set()


def _soon(work: Any) -> None:
    task = asyncio.get_running_loop().create_task(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


@asynccontextmanager
async def rig(
    *hears: type[Event], roster: tuple[str, ...] = (), budget: Budget | None = None
) -> AsyncIterator[Rig]:
    """A rig that hears these kinds; its context must terminate afterwards, or the test fails."""
    context: Context = zmq.Context()
    made = Rig(context, roster)
    await made.open(*hears, budget=budget)
    try:
        yield made
    finally:
        await made.close()
        await ended(context)
        made.broker.join()


async def ended(context: Context) -> None:
    """The context terminates, or the test fails and tells which sockets were left open.

    On a thread of its own: one of the loop's would be waited for when the loop closes, without end.
    """
    done = threading.Event()

    def end() -> None:
        context.term()
        done.set()

    threading.Thread(target=end, daemon=True).start()
    try:
        async with asyncio.timeout(PATIENCE_S):
            await until(done.is_set)
    except TimeoutError:
        left = [repr(socket) for socket in context._sockets if not socket.closed]
        raise AssertionError(f"the context does not end; sockets left open: {left}") from None
