"""The endpoints of a service as an actor climbs them: failures go to the breaker, its verdicts come back.

A call is never used to find out whether an endpoint is back: when its circuit is half open, a probe
of its own is made, with the breaker's lease, and the next answer finds it closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from typing import Any, Literal

import structlog

from actors.doors import Anyone, Breaker, Leave
from actors.ladder import Ladder
from bus.asking import Asker
from bus.endpoints import Endpoints
from bus.errors import NoAnswer
from bus.runtime import Context, Emit, Runtime
from engines.protocols import EngineError
from schemas import BreakerBegan, BreakerChanged, EngineFailed, EngineWorked, Event

log = structlog.get_logger()
Doors = tuple[Context, Endpoints]


class Rungs:
    """`service` at the endpoints `names`, the preferred one first. `probe` raises EngineError."""

    hears: tuple[type[Event], ...] = (BreakerChanged, BreakerBegan)

    def __init__(
        self,
        service: str,
        names: Sequence[str],
        probe: Callable[[str], Awaitable[None]],
        doors: Doors | None = None,
    ) -> None:
        self._service, self._probe, self._doors = service, probe, doors
        self._ladder = Ladder(names)
        self.leave: Leave = Anyone()
        self._breaker: Breaker | None = None
        self._asker: Asker | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def attach(self, runtime: Runtime) -> None:
        """From here on there is a breaker to ask, and somebody who asks."""
        if self._doors is not None:
            self._asker = Asker(*self._doors, "breaker", runtime.clock)
            self._breaker = Breaker(self._asker, runtime.actor.name, runtime.stamper.inc)
            self.leave = self._breaker

    def begin(self) -> None:
        """Learn how the circuits stand: we may have been restarted while one was open."""
        self._spawn(self._look())

    async def close(self) -> None:
        """Probes under way end."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._asker is not None:
            self._asker.close()

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, in order."""
        return self._ladder.rungs

    @property
    def away(self) -> int:
        """How many are not asked now."""
        return sum(self._ladder.state(rung) != "closed" for rung in self.names)

    def next(self, tried: Collection[str]) -> str | None:
        """Whom to ask now; None: nobody is left."""
        return self._ladder.next(tried)

    def worked(self, rung: str, emit: Emit) -> None:
        emit(EngineWorked(call=emit.call, service=self._service, endpoint=rung))

    def failed(self, rung: str, why: str, emit: Emit) -> None:
        log.error("engine failed", call_id=emit.call, service=self._service, endpoint=rung, why=why)
        emit(EngineFailed(call=emit.call, service=self._service, endpoint=rung, error=why))

    def take(self, event: Event) -> None:
        """What the breaker says; that it has begun anew: then it may know less."""
        if isinstance(event, BreakerChanged) and event.service == self._service:
            self._ladder.told(event.endpoint, event.state)
            self._try_again()
        elif isinstance(event, BreakerBegan):
            self._spawn(self._look())

    async def _look(self) -> None:
        if self._breaker is None:
            return
        try:
            states = await self._breaker.states(self._service)
        except NoAnswer:
            states = {}  # it is starting, with all circuits closed
        self._ladder.begin_anew(states)
        self._try_again()

    def _try_again(self) -> None:
        for rung in self.names:
            if self._ladder.state(rung) == "half_open":
                self._spawn(self._attempt(rung))

    async def _attempt(self, rung: str) -> None:
        """One probe, if we get the lease. Without one the circuit has been closed meanwhile."""
        grant = await self.leave.ask(self._service, rung, "")
        if not grant.granted:
            return
        if not grant.lease:
            self._ladder.told(rung, "closed")
            return
        outcome: Literal["worked", "failed", "unused"] = "unused"
        why = ""
        try:
            await self._probe(rung)
            outcome = "worked"
        except EngineError as error:
            outcome, why = "failed", str(error)
        finally:
            await self.leave.give_back(grant, outcome, why)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
