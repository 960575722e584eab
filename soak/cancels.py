"""The law of CANCEL under fire: a number of cancels and a seed go in, figures and breaches come out.

    python -m soak.cancels --cancels 2000 --seed 1

A real broker and turn_manager's real side of the control lane over ipc; artificial actors in this
process and in others are slow, wedged (SIGSTOP), crash, or are just restarting, at random phases.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import zmq

from bus.broker import Broker
from bus.clock import MonotonicClock
from bus.control import MANAGER, Control
from bus.desk import Desk
from bus.endpoints import Endpoints
from bus.link import Link
from bus.logs import configure
from bus.rounds import Rounds
from bus.runtime import Runtime
from bus.stamps import Stamper
from schemas import (
    Acked,
    Event,
    Heartbeat,
    Hello,
    Respond,
    Sentence,
    SpokenWords,
    Stamp,
    TurnCancelled,
    Welcome,
)
from soak.artificial import HEARTBEAT_MS, make
from soak.cancel_figures import AWAY, HERE, ROSTER, Figures, show
from soak.nursery import Nursery

CALLS = ("call-1", "call-10")
"""One begins like the other: topics match by prefix."""
FAULTS = {
    "none": 70,
    "idle": 6,
    "twice": 6,
    "cancelled from outside": 6,
    "wedger is stopped": 4,
    "crasher crashes": 3,
    "crasher crashes in release": 3,
    "restarter is killed": 4,
}
ROUND_S = 10.0


class Watch:
    """Looks at everything that comes out of any actor: is it of a turn that actor had fenced?"""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self._fenced: dict[tuple[str, int, str], list[tuple[int, int]]] = defaultdict(list)
        self._spoken: dict[tuple[str, str, int], asyncio.Event] = defaultdict(asyncio.Event)
        self.ready: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.gauges: dict[tuple[str, int], dict[str, float]] = {}

    def acked(self, ack: Acked) -> None:
        """From here on nothing of that turn may leave that actor."""
        if ack.fenced:
            self._fenced[ack.actor, ack.inc, ack.call].append((ack.turn, ack.received_ns))

    def welcomed(self, hello: Hello, fences: dict[str, int]) -> None:
        """A newcomer has emitted nothing yet: what is fenced now it may never say."""
        for call, turn in fences.items():
            self._fenced[hello.actor, hello.inc, call].append((turn, 0))

    def take(self, event: Event, stamp: Stamp) -> None:
        """An event that somebody let out."""
        if isinstance(event, Heartbeat):
            self.gauges[event.actor, event.inc] = event.extra
            if event.state == "ready":
                self.ready[event.actor].set()
            return
        self._figures.events_heard += 1
        for turn, since_ns in self._fenced[stamp.source, stamp.inc, event.call]:
            if event.turn <= turn and stamp.at_ns > since_ns:
                self._figures.stale += 1
                self._figures.breaches.append(f"{stamp.source} let out turn {event.turn}: stale")
        if isinstance(event, Sentence) and (stamp.source, event.call, event.turn) in self._spoken:
            self._spoken[stamp.source, event.call, event.turn].set()

    async def speaks(self, actor: str, call: str, turn: int) -> None:
        """Until the next event of that turn comes out of `actor`."""
        key = (actor, call, turn)
        self._spoken[key].clear()
        await self._spoken[key].wait()
        del self._spoken[key]


class Manager:
    """turn_manager's side: the broadcast, its door, its welcome; and an ear for all that is said."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        where: Endpoints,
        watch: Watch,
        roster: tuple[str, ...] = ROSTER,
    ) -> None:
        self.clock = MonotonicClock()
        self.stamper = Stamper(MANAGER, 1)
        self.desk = Desk()
        self.link = Link(context, where, self.stamper, self.clock)
        self.rounds = Rounds(
            *(context, where, roster, self.stamper, self.clock, self.desk),
            publish=self._published,
        )
        self.control = Control(
            *(context, where, self.stamper, self.clock, self.desk),
            release=lambda *_: None,
            answer=self._answer,
            acked=self.acknowledged,
        )
        self._watch = watch
        self.tables: asyncio.Queue[TurnCancelled] = asyncio.Queue()

    async def open(self) -> None:
        """Everybody may come."""
        self.control.start()
        await self.link.listen((Sentence, SpokenWords, Heartbeat), self._watch.take)

    async def close(self) -> None:
        """Down again."""
        await self.control.stop()
        await self.rounds.close()
        self.link.close()

    def acknowledged(self, acks: Sequence[Acked]) -> None:
        """Acks at the door."""
        for ack in acks:
            self._watch.acked(ack)
        self.rounds.acknowledged(acks)

    async def _answer(self, request: Event) -> Event | None:
        if not isinstance(request, Hello):
            return None
        with self.desk.guard:
            self.desk.fence.merge(request.fences)
            fences = self.desk.fence.snapshot()
        self._watch.welcomed(request, fences)
        return Welcome(fences=fences)

    def _published(self, event: Event, at_ns: int) -> None:
        if isinstance(event, TurnCancelled):
            self.tables.put_nowait(event)

    def order(self, call: str, turn: int, fault: str = "") -> None:
        """Have everybody begin to speak."""
        self.link.publish(Respond(call=call, turn=turn, messages=(), say=fault))

    async def cancel(self, call: str, turn: int) -> None:
        """A round, up to its fences."""
        await self.rounds.cancel(call, turn, "soak", self.clock.now())


class Fire:
    """Cancel after cancel, each with a fault of its own."""

    def __init__(self, manager: Manager, watch: Watch, nursery: Nursery, figures: Figures) -> None:
        self._manager, self._watch, self._nursery = manager, watch, nursery
        self._figures = figures
        self._random = random.Random(figures.seed)
        self._turns = dict.fromkeys(CALLS, 0)
        self._wedged = False

    async def run(self) -> None:
        """All of them."""
        for call in CALLS:
            self._next(call)
        for _ in range(self._figures.cancels):
            async with asyncio.timeout(ROUND_S):
                await self._once()

    def _next(self, call: str, fault: str = "") -> None:
        self._turns[call] += 1
        self._manager.order(call, self._turns[call], fault)

    async def _once(self) -> None:
        (fault,) = self._random.choices(list(FAULTS), list(FAULTS.values()))
        self._figures.faults[fault] += 1
        call, other = self._random.sample(CALLS, 2)
        self._begin(call, fault)
        await asyncio.sleep(self._random.choice((0, self._random.uniform(0, 0.03))))
        if fault == "wedger is stopped":
            self._nursery.signal("wedger", signal.SIGSTOP)
            self._wedged = True
        elif fault == "restarter is killed":
            self._nursery.signal("restarter", signal.SIGKILL)
        for _ in range(await self._cancel(call, fault)):
            self._figures.count(await self._manager.tables.get())
        self._manager.order(call, self._turns[call])  # late: nobody may take it up any more
        self._next(call)
        await self._watch.speaks("honest", other, self._turns[other])
        if self._wedged and self._random.random() < 0.5:
            self._nursery.signal("wedger", signal.SIGKILL)
            self._wedged = False

    def _begin(self, call: str, fault: str) -> None:
        """A turn is under way already; one that is to crash, or to be idle, takes its place."""
        if fault == "idle":
            self._turns[call] += 1
        elif fault.startswith("crasher"):
            self._next(call, fault)

    async def _cancel(self, call: str, fault: str) -> int:
        """How many tables are to follow."""
        turn = self._turns[call]
        if fault == "twice":
            await asyncio.gather(*(self._manager.cancel(call, turn) for _ in range(2)))
            return 2
        if fault == "cancelled from outside":
            await self._cancelled_from_outside(call, turn)
        await self._manager.cancel(call, turn)
        return 1

    async def _cancelled_from_outside(self, call: str, turn: int) -> None:
        """It must be re-raised, and the next round must work."""
        tables = self._manager.tables.qsize()
        task = asyncio.get_running_loop().create_task(self._manager.cancel(call, turn))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() or self._manager.tables.qsize() != tables:
            self._figures.breaches.append(f"turn {turn}: cancellation from outside was swallowed")
        self._figures.outside += 1


async def run(cancels: int, seed: int) -> Figures:
    """The whole of it, in a folder of its own."""
    figures = Figures(cancels=cancels, seed=seed)
    folder = Path(tempfile.mkdtemp(prefix="cx", dir="/tmp"))
    began = time.monotonic()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    where = Endpoints(folder)
    broker = Broker(context, where)
    broker.start()
    watch = Watch(figures)
    manager = Manager(context, where, watch)
    nursery = Nursery(folder, seed)
    try:
        await manager.open()
        async with AsyncExitStack() as here:
            await _start(here, nursery, watch, context, where, seed)
            await Fire(manager, watch, nursery, figures).run()
            await _settle(manager, watch, figures)
    finally:
        await nursery.close()
        await manager.close()
        await asyncio.get_running_loop().run_in_executor(None, context.term)
        broker.join()
        shutil.rmtree(folder)
    figures.took_s = time.monotonic() - began
    figures.restarts = nursery.restarts - len(AWAY)
    return figures


async def _start(
    here: AsyncExitStack,
    nursery: Nursery,
    watch: Watch,
    context: zmq.Context[zmq.Socket[bytes]],
    where: Endpoints,
    seed: int,
) -> None:
    for name in AWAY:
        nursery.keep(name)
    for name in HERE:
        runtime = Runtime(make(name, seed), context, where, heartbeat_ms=HEARTBEAT_MS)
        await here.enter_async_context(runtime)
    async with asyncio.timeout(30):
        for name in ROSTER:
            await watch.ready[name].wait()


async def _settle(manager: Manager, watch: Watch, figures: Figures) -> None:
    """What the actors counted of themselves."""
    for name in HERE:
        watch.ready[name].clear()
        await watch.ready[name].wait()
    for (actor, _), gauges in watch.gauges.items():
        figures.held_back += int(gauges.get("held_back", 0))
        if gauges.get("violations"):
            figures.breaches.append(f"{actor} emitted behind its own fence")


def main(arguments: list[str] | None = None) -> int:
    """0 when every round ended and nothing stale came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cancels", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    configure("cancels", "critical")
    figures = asyncio.run(run(asked.cancels, asked.seed))
    show(figures)
    return 1 if figures.breaches else 0


if __name__ == "__main__":
    sys.exit(main())
