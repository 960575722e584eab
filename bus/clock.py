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

    def __init__(self) -> None:
        self._sleepers: dict[int, list[asyncio.Future[None]]] = {}

    def now(self) -> int:
        return time.monotonic_ns()

    async def sleep_until(self, at_ns: int) -> None:
        """Who sleeps until the same instant shares a timer: playback has 50 of them a second and call."""
        if at_ns <= time.monotonic_ns():
            await asyncio.sleep(0)
            return
        if (sleepers := self._sleepers.get(at_ns)) is None:
            sleepers = self._sleepers[at_ns] = []
            self.call_at(at_ns, lambda: self._wake(at_ns))
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sleepers.append(sleeper)
        await sleeper

    def _wake(self, at_ns: int) -> None:
        for sleeper in self._sleepers.pop(at_ns):
            if not sleeper.done():
                sleeper.set_result(None)

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


class Fact:
    """Something that comes true once. From there to its waiter it takes one pass of the loop, no task:

    the fences of a CANCEL are waited for this way (each pass more was 30 µs).
    """

    __slots__ = ("_waiter", "true")

    def __init__(self) -> None:
        self.true = False
        self._waiter: asyncio.Future[None] | None = None

    def come_true(self) -> None:
        """Wake who waits; again changes nothing."""
        self.true = True
        self._wake()

    async def by(self, deadline_ns: int, clock: Clock) -> bool:
        """Whether it came true before `deadline_ns` of `clock`; one waiter at a time."""
        if not self.true:
            self._waiter = asyncio.get_running_loop().create_future()
            alarm = clock.call_at(deadline_ns, self._wake)
            try:
                await self._waiter
            finally:
                alarm.cancel()
                self._waiter = None
        return self.true

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
