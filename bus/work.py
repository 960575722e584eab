"""The work of one call inside an actor: events go in, one after the other; a turn can be stopped.

What is bound to no turn goes on whatever is cancelled. What belongs to a turn runs in a task of
that turn, so that stopping it is ordinary task cancellation, waited for. What follows from an event
at once needs no task: it is done when the event comes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from schemas import Audio, Event, Report, Stamp, Stopped

log = structlog.get_logger()
Item = tuple[Event, Stamp]
React = Callable[[Event, Stamp, Stopped], Awaitable[None] | None]


class Serial:
    """One event after the other: at once, or in the one task that works off a queue.

    A task for each event was 6 µs of 60 for a frame of sound, and a pass of the loop.
    """

    def __init__(self, react: React, idle: Callable[[], None]) -> None:
        self._react, self._idle = react, idle
        self._queue: deque[Item] = deque()
        self._busy = False
        self._task: asyncio.Task[None] | None = None
        self._rest: Awaitable[None] | None = None
        self.notes: Stopped = {}

    def push(self, event: Event, stamp: Stamp) -> None:
        """Do what follows; what takes longer goes on in a task, and what comes meanwhile waits for it."""
        if self._busy:
            self._queue.append((event, stamp))
            return
        self._busy = True
        self._rest = self._begin(event, stamp)
        if self._rest is None and not self._queue:
            self._rested()
        else:
            self._task = asyncio.get_running_loop().create_task(self._run(event))

    def __len__(self) -> int:
        return len(self._queue)

    async def _run(self, event: Event) -> None:
        try:
            while True:
                if self._rest is not None:
                    await self._end(event, self._rest)
                if not self._queue:
                    break
                event, stamp = self._queue.popleft()
                self._rest = self._begin(event, stamp)
        finally:
            self._task = self._rest = None
            self._rested()

    def _rested(self) -> None:
        self._busy = False
        if not self._queue:
            self._idle()

    def _begin(self, event: Event, stamp: Stamp) -> Awaitable[None] | None:
        """What is done at once, done; what remains to be awaited."""
        try:
            return self._react(event, stamp, self.notes)
        except Exception:
            log.exception("react failed", **_of(event))  # one bad event must not end the call
            return None

    async def _end(self, event: Event, rest: Awaitable[None]) -> None:
        try:
            await rest
        except Exception:  # likewise
            log.exception("react failed", **_of(event))

    async def stop(self) -> Stopped:
        """Drop what waits, cancel what runs, wait for its end; what was stopped, in numbers."""
        dropped = list(self._queue)
        self._queue.clear()
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        if (rest := self._rest) is not None and hasattr(rest, "close"):
            rest.close()  # its task was cancelled before it began
        return add(_tally(dropped), self.notes)


def _of(event: Event) -> dict[str, object]:
    return {"call_id": event.call, "turn_id": event.turn, "on": type(event)}


def _tally(dropped: list[Item]) -> Stopped:
    if not dropped:
        return {}
    unplayed_ms = sum(
        1000 * event.samples / event.rate for event, _ in dropped if isinstance(event, Audio)
    )
    tally: Stopped = {"events_dropped": len(dropped)}
    if unplayed_ms:
        tally["unplayed_ms"] = round(unplayed_ms)
    return tally


def add(one: Stopped, other: Stopped) -> Stopped:
    """Numbers under the same name add up; of words the later stays."""
    total = dict(one)
    for name, value in other.items():
        was = total.get(name, 0)
        summed = isinstance(value, int | float) and isinstance(was, int | float)
        total[name] = was + value if summed else value  # type: ignore[operator] # both numbers
    return total


class Work:
    """All that an actor does for one call."""

    def __init__(
        self,
        react: React,
        begins: Callable[[int], None],
        ends: Callable[[int], None],
        by_turn: bool = True,
    ) -> None:
        """`by_turn=False`: one order for all events, and no turn to stop."""
        self._react, self._begins, self._ends, self._by_turn = react, begins, ends, by_turn
        self._listening = Serial(react, lambda: None)
        self._turns: dict[int, Serial] = {}
        self._background: set[asyncio.Task[None]] = set()

    def push(self, event: Event, stamp: Stamp) -> None:
        """React to an event, in its place."""
        self.queue(event).push(event, stamp)

    def queue(self, event: Event) -> Serial:
        """Where an event that has passed the fence is to be pushed; its turn's work has begun."""
        if not (event.turn and self._by_turn) or isinstance(event, Report):
            return self._listening
        serial = self._turns.get(event.turn)
        if serial is None:
            turn = event.turn
            serial = self._turns[turn] = Serial(self._react, lambda: self._done(turn))
            self._begins(turn)
        return serial

    def _done(self, turn: int) -> None:
        self._turns.pop(turn, None)
        self._ends(turn)

    def background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run until the call is over."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background work of a call failed", error=repr(error), exc_info=error)

    async def stop_turns(self, up_to: int) -> Stopped:
        """Stop all turns up to and including `up_to`; returns when their work has really ended."""
        chosen = [(turn, serial) for turn, serial in self._turns.items() if turn <= up_to]
        stopped: Stopped = {}
        for notes in await asyncio.gather(*(serial.stop() for _, serial in chosen)):
            stopped = add(stopped, notes)
        for turn, _ in chosen:
            self._done(turn)
        return stopped

    async def close(self) -> None:
        """The call is over, or the actor is: stop everything."""
        await self.stop_turns(1 << 62)
        for task in self._background:
            task.cancel()
        if self._background:
            await asyncio.wait(list(self._background))
        await self._listening.stop()
