"""What runs an actor: sockets and the law of CANCEL on one side, `react` on the other.

    class Actor(Protocol):
        name: str
        hears: tuple[type[Event], ...]

        async def load(self) -> None: ...
        def react(self, event: Event, emit: Emit) -> Awaitable[None] | None: ...
        async def close(self) -> None: ...

`react` is an `async def`, or, where most events are dealt with at once, a function that does so and
returns what remains to be awaited, if anything: no task is made for what is done. It gets every event of
`hears`: those of a turn one at a time, and those of no turn one at a time per call. `emit(event)`
publishes. What `react` does for an event with a turn is cancelled when that turn is (ordinary
CancelledError, waited for); `emit.note(tokens=3)` says what a cancel stopped. There is no CANCEL code in
an actor. An actor with `by_turn = False` gets all events of a call in one order, and nothing it does is
stopped by a CANCEL.
"""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict, deque
from collections.abc import Awaitable, Coroutine
from typing import Any, Protocol

import structlog
import zmq

from bus.clock import NS_PER_MS, Clock, MonotonicClock
from bus.control import MANAGER, Control
from bus.desk import Desk
from bus.endpoints import Endpoints
from bus.link import Link, Marks
from bus.stamps import Stamper
from bus.work import Work, add
from schemas import (
    Acked,
    AskStats,
    CallClosed,
    CallOpened,
    Cancel,
    Done,
    Drain,
    Event,
    Flag,
    Heartbeat,
    Refused,
    Stamp,
    Stopped,
)

log = structlog.get_logger()
PAGE = os.sysconf("SC_PAGE_SIZE")
CLOSED_CALLS = 4096
LONGEST_PAUSE_S = 30.0
MOST_EARLY = 20_000
"""Events that wait for an engine: 400 s of one call. Whoever needs older sound asks the journal for it."""
Context = zmq.Context[zmq.Socket[bytes]]


class Emit:
    """How an actor speaks while it reacts to one event; `at_ns` is when it took that event up."""

    __slots__ = ("_notes", "_runtime", "at_ns", "call", "cause", "clock")

    def __init__(self, runtime: Runtime, cause: Event, stamp: Stamp, notes: Stopped) -> None:
        self._runtime, self._notes = runtime, notes
        self.call = cause.call
        self.clock = runtime.clock
        self.cause = stamp
        self.at_ns = runtime.clock.now()

    def __call__(self, event: Event, at_ns: int | None = None) -> bool:
        """Publish unless the event's turn is cancelled; whether it left."""
        return self._runtime.emit(event, at_ns)

    def note(self, **stopped: int | float | str) -> None:
        """What a cancel of this turn has stopped, by name with its unit; numbers replace."""
        self._notes.update(stopped)

    def background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` until the call is over, whatever is cancelled."""
        self._runtime.work(self.call).background(work)


class Actor(Protocol):
    """Events in, events out; everything else is the runtime's job. See the module's docstring."""

    @property
    def name(self) -> str: ...

    @property
    def hears(self) -> tuple[type[Event], ...]: ...

    async def load(self) -> None:
        """Load engines; the actor is ready when this returns."""

    def react(self, event: Event, emit: Emit) -> Awaitable[None] | None:
        """Emit whatever follows from `event`; what is awaited is cancelled when its turn is."""

    async def close(self) -> None:
        """Give everything back."""


class Runtime:
    """One actor on the bus. `async with runtime:` starts it; it is ready inside the block."""

    def __init__(
        self,
        actor: Actor,
        context: Context,
        where: Endpoints,
        clock: Clock | None = None,
        inc: int | None = None,
        marks: Marks | None = None,
        heartbeat_ms: int = 500,
        flags: dict[str, Flag] | None = None,
        mends: type[Exception] | tuple[()] = (),
    ) -> None:
        """`mends`: what `load` may raise and be tried again after, the actor alive and not ready."""
        self.actor = actor
        self._mends = mends
        self.clock = clock or MonotonicClock()
        self.stamper = Stamper(actor.name, inc)
        self.desk = Desk()
        self.link = Link(context, where, self.stamper, self.clock, marks)
        self.control = Control(
            context,
            where,
            self.stamper,
            self.clock,
            self.desk,
            self._release,
            self._answer,
            acked=getattr(actor, "acknowledged", None),
        )
        self._flags = flags or {}
        self._heartbeat_ms = heartbeat_ms
        self._began_ns = self.clock.now()
        self._lag_ns = 0
        self._works: dict[str, Work] = {}
        self._closed: OrderedDict[str, None] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._react_to = frozenset(actor.hears)
        self._early: deque[tuple[Event, Stamp]] | None = deque(maxlen=MOST_EARLY)

    async def __aenter__(self) -> Runtime:
        """Door open, lanes proven, fences taken over, engines loaded: in this order."""
        self.control.start()
        try:
            self.desk.detail = "the broker to echo"
            await self.link.listen({*self.actor.hears, CallOpened, CallClosed}, self._take)
            self._spawn(self._beat())
            if attach := getattr(self.actor, "attach", None):
                attach(self)
            self.desk.detail = "turn_manager's welcome"
            await self.control.welcomed.wait()
            await self._load()
        except BaseException:
            await self.stop()
            raise
        self._open()
        self.set_state("ready")
        return self

    async def _load(self) -> None:
        """What can't be loaded is said, and tried again: a model may come, a server may be started."""
        self.desk.detail, pause_s = "its engine to load", 1.0
        while not await self._loaded(pause_s):
            await self.clock.sleep_until(self.clock.now() + int(pause_s * 1e9))
            pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)

    async def _loaded(self, pause_s: float) -> bool:
        try:
            await self.actor.load()
        except self._mends as error:
            self.desk.detail = str(error)
            log.error("not ready; tried again", why=str(error), after_s=pause_s)
            return False
        return True

    def _open(self) -> None:
        """Take up what has come meanwhile, after the calls that were in progress before."""
        early, self._early = self._early or deque(), None
        told = {event.call for event, _ in early if isinstance(event, CallOpened)}
        now = Stamp(source=MANAGER, inc=0, seq=0, at_ns=self.clock.now())
        calls = [opened for opened in self.control.calls if opened.call not in told]
        for event, stamp in (*((opened, now) for opened in calls), *early):
            self._take(event, stamp)

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def set_state(self, state: str) -> None:
        """`ready` once the engines are; the fleet hears it with the next heartbeat, sent at once."""
        self.desk.state, self.desk.ready, self.desk.detail = state, state == "ready", ""
        self.link.publish(self.heartbeat())

    async def stop(self) -> None:
        """End all work, then the control lane, then the sockets.

        Who is cancelled meanwhile is so afterwards: a socket left open would keep the context for ever.
        """
        stopping = asyncio.get_running_loop().create_task(self._stop())
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError:
            await stopping
            raise

    async def _stop(self) -> None:
        self.desk.ready = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for work in list(self._works.values()):
            await work.close()
        await self.actor.close()
        await self.control.stop()
        self.link.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- events in -------------------------------------------------------------------------------

    def _take(self, event: Event, stamp: Stamp) -> None:
        """An event has arrived: behind a fence it is dropped, else it joins its call's work.

        Nothing is begun before the fences were taken over and the engines are there.
        """
        if self._early is not None:
            self._early.append((event, stamp))
            return
        lag_ns = self.clock.now() - stamp.at_ns
        if lag_ns > self._lag_ns:
            self._lag_ns = lag_ns
        if event.call in self._closed:
            self.link.counts["stale"] += 1
            return
        work = self._works.get(event.call) or self.work(event.call)
        if not event.turn:
            work.push(event, stamp)
            return
        with self.desk.guard:
            if not self.desk.fence.passes(event):
                self.link.counts["stale"] += 1
                return
            queue = work.queue(event)
        queue.push(event, stamp)

    def work(self, call: str) -> Work:
        """What goes on for `call`."""
        if (work := self._works.get(call)) is None:
            work = self._works[call] = Work(
                self._react,
                begins=lambda turn: self.desk.busy.add((call, turn)),
                ends=lambda turn: self.desk.busy.discard((call, turn)),
                by_turn=getattr(self.actor, "by_turn", True),
            )
        return work

    def _react(self, event: Event, stamp: Stamp, notes: Stopped) -> Awaitable[None] | None:
        if event.call in self._closed or not self.desk.fence.passes(event):
            self.link.counts["stale"] += (
                1  # cancelled, or its call closed, while it waited its turn
            )
            return None
        if isinstance(event, CallClosed) and event.call:
            return self._hang_up(event, stamp, notes)
        if type(event) in self._react_to:
            return self.actor.react(event, Emit(self, event, stamp, notes))
        return None

    async def _hang_up(self, event: CallClosed, stamp: Stamp, notes: Stopped) -> None:
        if type(event) in self._react_to:
            rest = self.actor.react(event, Emit(self, event, stamp, notes))
            if rest is not None:
                await rest
        self._closed[event.call] = None  # at once: what waits behind it must open nothing anew
        self._spawn(self._forget(event.call))

    async def _forget(self, call: str) -> None:
        while len(self._closed) > CLOSED_CALLS:
            self._closed.popitem(last=False)
        if (work := self._works.get(call)) is not None:
            await work.close()  # known until it has ended: `stop` may come in between and must wait
            self._works.pop(call, None)  # two CallClosed end it once
        self.link.forget(call)

    # -- events out ------------------------------------------------------------------------------

    def emit(self, event: Event, at_ns: int | None = None) -> bool:
        """Publish unless behind the fence; checked and sent in one breath with the fence held."""
        if not event.turn:
            self.link.publish(event, at_ns)
            return True
        with self.desk.guard:
            if not self.desk.fence.passes(event):
                self.link.counts["stale"] += 1
                return False
            self.link.publish(event, at_ns)
        return True

    # -- the law ---------------------------------------------------------------------------------

    def _release(self, cancel: Cancel, began_ns: int) -> None:
        self._spawn(self._released(cancel, began_ns))

    async def _released(self, cancel: Cancel, began_ns: int) -> None:
        """Stop the work of that turn, wait until it has really ended, and say so."""
        stopped: Stopped = {}
        error = ""
        try:
            stopped = await self.work(cancel.call).stop_turns(cancel.turn)
        except Exception as problem:  # reported in the ack: a leg hides nothing
            log.exception("release failed", call_id=cancel.call, turn_id=cancel.turn)
            error = repr(problem)
        ack = Acked(
            call=cancel.call,
            turn=cancel.turn,
            actor=self.actor.name,
            inc=self.stamper.inc,
            fenced=True,
            released=True,
            released_us=(self.clock.now() - began_ns) / 1000,
            stopped=add(stopped, {}),
            error=error,
        )
        self.control.acknowledge(ack)

    # -- the door --------------------------------------------------------------------------------

    async def _answer(self, request: Event) -> Event | None:
        if isinstance(request, AskStats):
            return self.heartbeat()
        if isinstance(request, Drain):
            self.set_state("draining")
            return Done(detail=f"{len(self._works.keys() - {''})} calls in progress")
        if (answer := getattr(self.actor, "answer", None)) is not None:
            reply: Event | None = await answer(request)
            return reply
        return Refused(
            why=f"{self.actor.name} does not answer {type(request).__name__}", status=404
        )

    async def _beat(self) -> None:
        while True:
            self.link.publish(self.heartbeat())
            await asyncio.sleep(self._heartbeat_ms / 1000)

    def heartbeat(self) -> Heartbeat:
        """The actor's counters now."""
        counts = self.link.counts
        lag_ms, self._lag_ns = self._lag_ns / NS_PER_MS, 0
        extra = getattr(self.actor, "gauges", None)
        trouble = getattr(self.actor, "trouble", None)
        return Heartbeat(
            actor=self.actor.name,
            inc=self.stamper.inc,
            pid=os.getpid(),
            state=self.desk.state,  # type: ignore[arg-type] # one of the three by construction
            detail=self.desk.detail or (trouble() if trouble else ""),
            uptime_ms=(self.clock.now() - self._began_ns) / NS_PER_MS,
            rss_bytes=_rss(),
            lag_ms=lag_ms,
            received=counts["received"],
            sent=counts["sent"],
            stale=counts["stale"],
            malformed=sum(counts[kind] for kind in BAD) + self.control.malformed,
            missed=counts["missed"],
            calls=len(self._works.keys() - {""}),
            flags=self._flags,
            extra=extra() if extra else {},
        )


BAD = ("malformed", "oversized", "unknown_kind", "wrong_version")


def _rss() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * PAGE
