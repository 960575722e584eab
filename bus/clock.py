"""Time as the fleet knows it: monotonic nanoseconds of this box, or a recorded clock in a replay."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
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

    def call_at(self, at_ns: int, callback: Callable[[], None]) -> Alarm:
        """Call back on the loop when `now() >= at_ns`, unless the alarm is cancelled."""
        ...


class Alarm(Protocol):
    """A call to come."""

    def cancel(self) -> object:
        """Leave it."""
        ...


class MonotonicClock:
    """CLOCK_MONOTONIC, the same for every process of one box."""

    def now(self) -> int:
        return time.monotonic_ns()

    async def sleep_until(self, at_ns: int) -> None:
        await asyncio.sleep(max(0.0, (at_ns - time.monotonic_ns()) / 1e9))

    def call_at(self, at_ns: int, callback: Callable[[], None]) -> Alarm:
        return asyncio.get_running_loop().call_later(
            max(0.0, (at_ns - time.monotonic_ns()) / 1e9), callback
        )


class ReplayClock:
    """Stands still until it is told the time; sleepers whose time has come wake in order."""

    def __init__(self, at_ns: int = 0) -> None:
        self._now = at_ns
        self._sleepers: list[tuple[int, asyncio.Future[None]]] = []

    def now(self) -> int:
        return self._now

    async def sleep_until(self, at_ns: int) -> None:
        if at_ns > self._now:
            await self._sleeper(at_ns)

    def call_at(self, at_ns: int, callback: Callable[[], None]) -> Alarm:
        sleeper = self._sleeper(at_ns)
        sleeper.add_done_callback(lambda done: None if done.cancelled() else callback())
        return sleeper

    def _sleeper(self, at_ns: int) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sleeper = (at_ns, future)
        self._sleepers.append(sleeper)
        future.add_done_callback(lambda _: self._sleepers.remove(sleeper))
        if at_ns <= self._now:
            future.set_result(None)
        return future

    @property
    def next_due_ns(self) -> int | None:
        """When the next sleeper wants to be woken."""
        return min((due for due, future in self._sleepers if not future.done()), default=None)

    def set(self, at_ns: int) -> None:
        """Move to `at_ns`; never backwards."""
        self._now = max(self._now, at_ns)
        for due, future in sorted(self._sleepers, key=lambda sleeper: sleeper[0]):
            if due <= self._now and not future.done():
                future.set_result(None)


async def happens(fact: asyncio.Future[None], clock: Clock, deadline_ns: int) -> bool:
    """Whether `fact` came true before `deadline_ns` of `clock`. No task is made: it is on CANCEL's way."""
    if fact.done():
        return True
    woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake(*_: object) -> None:
        if not woken.done():
            woken.set_result(None)

    alarm = clock.call_at(deadline_ns, wake)
    fact.add_done_callback(wake)
    try:
        await woken
    finally:
        alarm.cancel()
        fact.remove_done_callback(wake)
    return fact.done()
