"""Faults go in and are done to the fleet, one after another; when each was noticed and mended comes out."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil
import structlog
import zmq

from bus.ask import ask
from bus.endpoints import Endpoints
from bus.errors import BargeinError
from bus.settings import Settings
from ops.supervisor import Supervisor
from schemas import (
    ActorKilled,
    AskHealth,
    Event,
    Health,
    SpeechContinued,
    SttDegraded,
    SttRecovered,
)
from soak.chaos.faults import ACTORS, BROKER, DECODER, PROXY, Fault
from soak.chaos.orders import send
from soak.chaos.proxy import Proxy
from soak.chaos.watch import Watch

log = structlog.get_logger()
HEARING = ("audio_in", "stt", DECODER)
"""Who has a part in noticing that a decoder hangs."""
PHASE_S = 2.5
BACK_S = 15.0
ASK_S = 0.2
LOOK_S = 0.05
WALL_S = 3600.0
FREE = resource.RLIM_INFINITY
AFTER_NS = 3_000_000_000
SLOW_MS = 30
"""A write of 20 ms of sound that takes longer than that: the disk can't keep up."""


@dataclass
class Struck:
    """A fault that was done. Times in s since then; None: was not, or need not be."""

    fault: Fault
    at_ns: int
    done: bool = True
    noticed_s: float | None = None
    back_s: float | None = None
    alone: bool = True
    """Nothing else was done to the same victim, and the box did not stand still, meanwhile."""


class Striker:
    """Does a plan's faults to a fleet."""

    def __init__(
        self, settings: Settings, supervisor: Supervisor, watch: Watch, proxy: Proxy
    ) -> None:
        self._settings, self._supervisor = settings, supervisor
        self._watch, self._proxy = watch, proxy
        self._where = Endpoints(settings.run_dir)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._dice = random.Random(7)
        self._tasks: set[asyncio.Task[None]] = set()
        self._halted: list[int] = []
        self.struck: list[Struck] = []

    async def run(self, plan: list[Fault], told: Callable[[str], None]) -> None:
        """All of them, each at its time and phase, or as soon after it as those before it allow."""
        began = time.monotonic()
        for fault in plan:
            await asyncio.sleep(max(0.0, began + fault.at_s - time.monotonic()))
            if fault.phase != "any":
                await _away(self._watch.phase, fault.phase, PHASE_S)
            told(str(fault))
            await self._strike(fault)

    async def settled(self) -> None:
        """Until everything that is measured is."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def close(self) -> None:
        """Let the sockets go; nobody stays halted."""
        self._continue()
        self._context.term()

    async def _strike(self, fault: Fault) -> None:
        for other in self.struck:
            if other.back_s is None and _touches(fault, other.fault):
                other.alone = False
        struck = Struck(fault, time.monotonic_ns())
        struck.alone = not self._halted and not self._stirs(fault)
        self.struck.append(struck)
        if fault.kind in ("kill", "wedge"):
            await self._signal(struck)
        elif fault.kind == "hang" and fault.victim == DECODER:
            await self._stop_decoders(struck)
        elif fault.victim == PROXY:
            self._network(fault)
        elif fault.how == "full":
            await self._fill(struck)
        elif fault.how == "stands still":
            await self._stand_still(struck)
        else:
            self._order(struck)

    def _stirs(self, fault: Fault) -> bool:
        """Whether what was done just before may still be felt where `fault` strikes."""
        since_ns = time.monotonic_ns() - AFTER_NS
        return any(one.at_ns >= since_ns and _touches(one.fault, fault) for one in self.struck)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- processes -------------------------------------------------------------------------------

    async def _pids(self) -> dict[str, int]:
        with suppress(BargeinError):
            return {p.name: p.pid for p in await _away(self._supervisor.processes)}
        return {}

    async def _signal(self, struck: Struck) -> None:
        fault = struck.fault
        pids = await self._pids()
        pid = pids.get(fault.victim, 0)
        if fault.victim == DECODER:
            decoders = _children(pids.get("stt", 0))
            pid = self._dice.choice(decoders).pid if decoders else 0
        number = signal.SIGKILL if fault.kind == "kill" else signal.SIGSTOP
        waiter = self._watch.expect(
            lambda event: isinstance(event, ActorKilled) and event.pid == pid
        )
        struck.at_ns = time.monotonic_ns()
        struck.done = _kill(pid, number)
        if fault.kind == "wedge" and struck.done:
            self._spawn(self._noticed(struck, waiter))
        else:
            self._watch.wait(waiter, 0)
        if struck.done and fault.victim != DECODER:
            self._spawn(self._back(struck, pid))

    async def _noticed(self, struck: Struck, waiter: Any) -> None:
        at_ns = await _away(self._watch.wait, waiter, BACK_S)
        struck.noticed_s = (at_ns - struck.at_ns) / 1e9 if at_ns else None

    async def _back(self, struck: Struck, pid: int) -> None:
        """Until another process is there in its stead, and ready."""
        victim = struck.fault.victim
        while time.monotonic_ns() - struck.at_ns < BACK_S * 1e9:
            if victim in ACTORS:
                health = await self._health(victim)
                ready = health is not None and health.ready and health.pid != pid
            else:
                now = (await self._pids()).get(victim, 0)
                ready = now not in (0, pid)
            if ready:
                struck.back_s = (time.monotonic_ns() - struck.at_ns) / 1e9
                return
            await asyncio.sleep(LOOK_S)

    async def _health(self, actor: str) -> Health | None:
        try:
            answer: Event = await _away(ask, self._where, actor, AskHealth(), ASK_S, self._context)
        except BargeinError:
            return None
        return answer if isinstance(answer, Health) else None

    async def _stop_decoders(self, struck: Struck) -> None:
        """In mid-word: every decoder stands still, and no stream of results ends."""
        noticed = self._watch.expect(lambda event: isinstance(event, SttDegraded))
        spoken = self._watch.expect(lambda event: isinstance(event, SpeechContinued))
        mended = self._watch.expect(lambda event: isinstance(event, SttRecovered))
        decoders = _children((await self._pids()).get("stt", 0))
        struck.at_ns = time.monotonic_ns()
        struck.done = sum(_kill(child.pid, signal.SIGSTOP) for child in decoders) > 0
        self._spawn(self._hung(struck, spoken, noticed, mended))

    async def _hung(self, struck: Struck, spoken: Any, noticed: Any, mended: Any) -> None:
        """Noticed so long after somebody has begun to speak, or was speaking."""
        at_ns = await _away(self._watch.wait, noticed, BACK_S)
        spoken_ns = self._watch.wait(spoken, 0)
        struck.noticed_s = (at_ns - spoken_ns) / 1e9 if at_ns and spoken_ns else None
        at_ns = await _away(self._watch.wait, mended, BACK_S if at_ns else 0)
        struck.back_s = (at_ns - struck.at_ns) / 1e9 if at_ns else None

    # -- the box ---------------------------------------------------------------------------------

    async def _fill(self, struck: Struck) -> None:
        """No file of that process can grow any more: the kernel refuses each write(2)."""
        pid = (await self._pids()).get(struck.fault.victim, 0)
        struck.done = _limit(pid, 0)
        if struck.done:
            self._spawn(self._empty(pid, struck.fault.for_s))

    async def _empty(self, pid: int, after_s: float) -> None:
        await asyncio.sleep(after_s)
        _limit(pid, FREE)

    async def _stand_still(self, struck: Struck) -> None:
        """As a box that is suspended: everybody's monotonic clock jumps."""
        family = await _away(_family, self._supervisor.pid())
        self._halted = [process.pid for process in family]
        for pid in self._halted:
            _kill(pid, signal.SIGSTOP)
        self._spawn(self._go_on(struck.fault.for_s))

    async def _go_on(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        self._continue()

    def _continue(self) -> None:
        for pid in self._halted:
            _kill(pid, signal.SIGCONT)
        self._halted = []

    # -- orders ----------------------------------------------------------------------------------

    def _network(self, fault: Fault) -> None:
        if fault.how == "reset":
            self._proxy.reset()
        elif fault.how == "garbage":
            self._proxy.garbage()
        elif fault.how == "stall":
            self._spawn(self._proxy.stall(fault.for_s))
        else:
            self._spawn(self._proxy.refuse(fault.for_s))

    def _order(self, struck: Struck) -> None:
        fault, run_dir = struck.fault, self._settings.run_dir
        order: dict[str, object]
        if fault.kind == "reset":
            order = {"do": "reset"}
        elif fault.how in ("slow", "blocks"):
            ms = SLOW_MS if fault.how == "slow" else fault.for_s * 1000
            order = {"do": "slow", "ms": ms, "for_s": fault.for_s}
        elif fault.how == "wall":
            order = {"do": "wall", "s": self._dice.choice((-WALL_S, WALL_S))}
        else:
            order = {"do": "raise" if fault.kind == "exception" else fault.kind, "at": fault.how}
        victims = ACTORS if fault.victim == "all" else (fault.victim,)
        struck.done = sum(send(run_dir, victim, **order) for victim in victims) > 0


def _touches(fault: Fault, other: Fault) -> bool:
    """Whether a figure of `other` says nothing of it alone when `fault` comes too."""
    if fault.how == "stands still" or fault.victim in (BROKER, other.victim):
        return True
    return other.kind == "hang" and fault.victim in HEARING


async def _away(work: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, work, *arguments)


def _kill(pid: int, number: signal.Signals) -> bool:
    if not pid:
        return False
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _limit(pid: int, size: int) -> bool:
    if not pid:
        return False
    try:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, FREE))
    except ProcessLookupError:
        return False
    return True


def _children(pid: int) -> list[psutil.Process]:
    try:
        return list(psutil.Process(pid).children()) if pid else []
    except psutil.Error:
        return []


def _family(pid: int) -> list[psutil.Process]:
    try:
        return [*psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []
