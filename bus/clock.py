"""Time as the fleet knows it: monotonic nanoseconds of this box, or a recorded clock in a replay."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

NS_PER_MS = 1_000_000


class Clock(Protocol):
    """What an actor may know about time."""

    def now(self) -> int:
        """Nanoseconds since an arbitrary, fleet-wide origin."""
        ...

    async def sleep_until(self, at_ns: int) -> None:
        """Return when `now() >= at_ns`."""
        ...


class MonotonicClock:
    """CLOCK_MONOTONIC, the same for every process of one box."""

    def now(self) -> int:
        return time.monotonic_ns()

    async def sleep_until(self, at_ns: int) -> None:
        await asyncio.sleep(max(0.0, (at_ns - time.monotonic_ns()) / 1e9))


class ReplayClock:
    """Stands still until it is told the time; sleepers whose time has come wake in order."""

    def __init__(self, at_ns: int = 0) -> None:
        self._now = at_ns
        self._sleepers: list[tuple[int, asyncio.Future[None]]] = []

    def now(self) -> int:
        return self._now

    async def sleep_until(self, at_ns: int) -> None:
        if at_ns <= self._now:
            return
        sleeper = (at_ns, asyncio.get_running_loop().create_future())
        self._sleepers.append(sleeper)
        try:
            await sleeper[1]
        finally:
            self._sleepers.remove(sleeper)

    def set(self, at_ns: int) -> None:
        """Move to `at_ns`; never backwards."""
        self._now = max(self._now, at_ns)
        for due, future in sorted(self._sleepers, key=lambda sleeper: sleeper[0]):
            if due <= self._now and not future.done():
                future.set_result(None)


async def happens(event: asyncio.Event, clock: Clock, deadline_ns: int) -> bool:
    """Whether `event` was set before `deadline_ns` of `clock`."""
    if event.is_set():
        return True
    waiter = asyncio.ensure_future(event.wait())
    timer = asyncio.ensure_future(clock.sleep_until(deadline_ns))
    try:
        await asyncio.wait({waiter, timer}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiter.cancel()
        timer.cancel()
        await asyncio.gather(waiter, timer, return_exceptions=True)
    return event.is_set()
