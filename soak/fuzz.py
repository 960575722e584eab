"""Random and mutated frames on every lane and door of real actors: a number goes in, breaches come out.

    python -m soak.fuzz --frames 100000 --seed 1

Six actors run beside a false turn_manager, whose broadcast is fuzzed too; the real turn_manager
runs on a bus of its own. After each batch the counters must have counted every bad frame, and every
door must answer the question for health.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
import zmq

from actors.audio_in import AudioInActor
from actors.breaker import BreakerActor
from actors.llm import LlmActor
from actors.playback import PlaybackActor
from actors.stt import SttActor
from actors.tts import TtsActor
from actors.turn_manager import TurnManager
from bus.ask import ask
from bus.broker import Broker
from bus.control import MANAGER
from bus.endpoints import Endpoints
from bus.runtime import BAD, Actor, Runtime
from bus.sections import AudioIn, Fleet
from bus.settings import Settings
from bus.sockets import make
from bus.stamps import Stamper
from bus.wire import lane_of, pack, prefix, topic_of
from engines.stt_null import NullEngine
from schemas import AskHealth, CallClosed, CallOpened, Cancel, Event, Health, RollCall, Welcome
from soak.babble import Babbler, Frames, refused
from soak.small_engines import Hum, Loudness, Parrot

BATCH = 500
STALLED_S = 5.0
WAYS = ("events", "media", "door", "cancel")
serial = itertools.count()


@dataclass
class Figures:
    """What came of it; `breaches` must be empty."""

    frames: int = 0
    seed: int = 0
    took_s: float = 0.0
    sent: Counter[str] = field(default_factory=Counter)
    bad: Counter[str] = field(default_factory=Counter)
    counted: Counter[str] = field(default_factory=Counter)
    log_lines: Counter[str] = field(default_factory=Counter)
    health_ms_max: float = 0.0
    breaches: list[str] = field(default_factory=list)


class Bus:
    """A broker, actors, and sockets to pester them through."""

    def __init__(self, name: str, figures: Figures, seed: int) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.where = Endpoints(f"inproc://{name}{next(serial)}")
        self._broker = Broker(self.context, self.where)
        self._figures = figures
        self._babbler = Babbler(seed)
        self._stamper = Stamper(MANAGER, 1)
        self.runtimes: list[Runtime] = []
        self._expected: Counter[tuple[str, str]] = Counter()
        self._kinds: dict[str, tuple[type[Event], ...]] = {}
        self._pub: dict[str, zmq.Socket[bytes]] = {}
        self._doors: dict[str, zmq.Socket[bytes]] = {}
        self._ways: tuple[str, ...] = ("events", "media", "door")

    def adopt(self, *actors: Actor) -> None:
        """To be called on the loop."""
        for actor in actors:
            self.runtimes.append(Runtime(actor, self.context, self.where))
            self._kinds[actor.name] = (*actor.hears, CallOpened, CallClosed)

    async def open(self, stack: AsyncExitStack) -> None:
        """Everybody is ready and every socket stands."""
        self._broker.start()
        for lane in ("events", "media"):
            self._pub[lane] = make(self.context, zmq.PUB)
            self._pub[lane].connect(self.where[f"{lane}.in"])
        for runtime in self.runtimes:
            door = make(self.context, zmq.DEALER)
            door.connect(self.where[f"door.{runtime.actor.name}"])
            self._doors[runtime.actor.name] = door
            await stack.enter_async_context(runtime)

    async def close(self) -> None:
        """Down again; the context must end."""
        for socket in (*self._pub.values(), *self._doors.values()):
            socket.close()
        ended = asyncio.get_running_loop().run_in_executor(None, self.context.term)
        await asyncio.wait_for(ended, 10)
        self._broker.join()

    async def pester(self, frames: int) -> None:
        """That many messages, in batches."""
        for first in range(0, frames, BATCH):
            for _ in range(min(BATCH, frames - first)):
                self._one()
            await self._counted()
            await self._healthy()

    def _one(self) -> None:
        pick = self._babbler.random
        runtime = pick.choice(self.runtimes)
        way = pick.choice(self._ways)
        frames = self._babbler.message(*self._suited(runtime, way))
        if pick.random() < 0.8:
            frames = self._babbler.mutated(frames)
        self._figures.sent[way] += 1
        if way == "door":
            self._knock(runtime.actor.name, frames)
        elif way == "cancel":
            self._broadcast(frames)
        else:
            self._publish(way, frames)

    def _suited(self, runtime: Runtime, way: str) -> tuple[type[Event], ...]:
        """Kinds that get through on this way: a subscription drops the others unseen."""
        if way == "cancel":
            return (Cancel, RollCall)
        if way == "door":
            return ()
        heard = [kind for kind in self._kinds[runtime.actor.name] if lane_of(kind) == way]
        return tuple(heard)

    def _publish(self, lane: str, frames: Frames) -> None:
        self._pub[lane].send_multipart(frames)
        wrong = refused(frames)
        self._figures.bad[lane] += wrong
        for name, kinds in self._kinds.items():
            if wrong and any(lane_of(k) == lane and frames[0].startswith(prefix(k)) for k in kinds):
                self._expected[name, "link"] += 1

    def _knock(self, name: str, frames: Frames) -> None:
        """A request begins with its number; at times it does not."""
        number = self._babbler.random.choice((b"12345678", b"", b"n" * 17))
        self._doors[name].send_multipart([number, *frames])
        wrong = len(number) > 16 or refused(frames)
        self._figures.bad["door"] += wrong
        self._expected[name, "control"] += wrong

    def _broadcast(self, frames: Frames) -> None:
        """Only a false turn_manager can."""
        raise NotImplementedError

    def _now(self, runtime: Runtime) -> dict[str, int]:
        counts = runtime.link.counts
        return {
            "link": sum(counts[kind] for kind in BAD),
            "control": runtime.control.malformed,
        }

    async def _counted(self) -> None:
        """Every bad frame of this batch, by the one it was meant for; no more and no fewer."""
        deadline = time.monotonic() + STALLED_S
        for runtime in self.runtimes:
            name = runtime.actor.name
            expected = {lane: self._expected[name, lane] for lane in ("link", "control")}
            while self._now(runtime) != expected and time.monotonic() < deadline:
                self._drain(name)
                await asyncio.sleep(0.001)
            if (now := self._now(runtime)) != expected:
                self._figures.breaches.append(f"{name} counted {now}, sent {expected}")
                for lane, count in now.items():
                    self._expected[name, lane] = count

    def _drain(self, name: str) -> None:
        """The answers of a door, unread."""
        while self._doors[name].poll(0):
            self._doors[name].recv_multipart()

    async def _healthy(self) -> None:
        for runtime in self.runtimes:
            self._drain(runtime.actor.name)
            began = time.monotonic()
            asked = (self.where, runtime.actor.name, AskHealth(), 5.0, self.context)
            health = await asyncio.get_running_loop().run_in_executor(None, ask, *asked)
            took_ms = (time.monotonic() - began) * 1000
            self._figures.health_ms_max = max(self._figures.health_ms_max, took_ms)
            if not isinstance(health, Health):
                self._figures.breaches.append(f"{runtime.actor.name} answered {health}")

    def tell_counts(self) -> None:
        """Into the figures."""
        for runtime in self.runtimes:
            for lane, count in self._now(runtime).items():
                self._figures.counted[f"{runtime.actor.name} {lane}"] = count


class WithoutManager(Bus):
    """The broadcast is ours, and so is the welcome."""

    async def open(self, stack: AsyncExitStack) -> None:
        self._ways = WAYS
        self._cancel = make(self.context, zmq.PUB)
        self._cancel.bind(self.where["cancel"])
        self._manager = make(self.context, zmq.ROUTER)
        self._manager.bind(self.where[f"door.{MANAGER}"])
        welcome = asyncio.get_running_loop().create_task(self._welcome())
        try:
            await super().open(stack)
        finally:
            welcome.cancel()
            await asyncio.wait([welcome])

    async def close(self) -> None:
        self._cancel.close()
        self._manager.close()
        await super().close()

    def _packed(self, event: Event) -> Frames:
        return pack(event, self._stamper(topic_of(event), time.monotonic_ns()))

    async def _welcome(self) -> None:
        """Ask everyone for its hello until all have come."""
        while True:
            for runtime in self.runtimes:
                self._cancel.send_multipart(self._packed(RollCall(call=runtime.actor.name, inc=1)))
            while self._manager.poll(0):
                asker, number, *_ = self._manager.recv_multipart()
                self._manager.send_multipart([asker, number, *self._packed(Welcome())])
            await asyncio.sleep(0.005)

    def _broadcast(self, frames: Frames) -> None:
        self._cancel.send_multipart(frames)
        wrong = refused(frames)
        self._figures.bad["cancel"] += wrong
        for name in self._kinds:
            mine = (prefix(Cancel), prefix(RollCall, name))
            self._expected[name, "control"] += wrong and frames[0].startswith(mine)
        while self._manager.poll(0):
            self._manager.recv_multipart()


def six() -> tuple[Actor, ...]:
    """All but turn_manager, with small engines."""
    return (
        AudioInActor(Loudness(), AudioIn()),
        SttActor(NullEngine()),
        LlmActor(Parrot()),
        TtsActor(Hum()),
        PlaybackActor(),
        BreakerActor(),
    )


async def run(frames: int, seed: int) -> Figures:
    """Five sixths on the six, the rest on turn_manager."""
    figures = Figures(frames=frames, seed=seed)
    began = time.monotonic()
    asyncio.get_running_loop().set_exception_handler(
        lambda _, problem: figures.breaches.append(f"unhandled: {problem}")
    )
    for share, build in ((5 / 6, _without_manager), (1 / 6, _manager)):
        bus = build(figures, seed)
        try:
            async with AsyncExitStack() as stack:
                await bus.open(stack)
                await bus.pester(round(frames * share))
                bus.tell_counts()
        finally:
            await bus.close()
    figures.took_s = round(time.monotonic() - began, 1)
    return figures


def _without_manager(figures: Figures, seed: int) -> Bus:
    bus = WithoutManager("six", figures, seed)
    bus.adopt(*six())
    return bus


def _manager(figures: Figures, seed: int) -> Bus:
    bus = Bus("manager", figures, seed + 1)
    settings = Settings(home=Path("/nonexistent"), fleet=Fleet(roster=(MANAGER,)))
    bus.adopt(TurnManager(bus.context, bus.where, settings))
    return bus


def main(arguments: list[str] | None = None) -> int:
    """0 when nothing broke."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    lines: Counter[str] = Counter()
    structlog.configure(processors=[lambda *call: _count_line(lines, *call)])
    figures = asyncio.run(run(asked.frames, asked.seed))
    figures.log_lines = lines
    print(json.dumps(vars(figures), indent=1))
    return 1 if figures.breaches else 0


def _count_line(lines: Counter[str], _: Any, level: str, line: Any) -> Any:
    lines[f"{level}: {line['event']}"] += 1
    raise structlog.DropEvent


if __name__ == "__main__":
    sys.exit(main())
