"""An event loop for replays: in come conditions, out comes the moment when they hold at rest.

At rest means: no callback is ready and no socket has news, so nothing more happens by itself until
somebody outside (a broker's thread, an engine) or the replay's driver does something. That makes a
barrier without sleeping.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE_S = 10.0
"""Real time for what needs no engine; a replay that is slower than this is broken."""


@dataclass
class _Waiter:
    holds: Callable[[], bool]
    found: asyncio.Future[bool]
    until_s: float

    def left_s(self) -> float:
        """Seconds it may still be waited for; 0.0 once it is settled, one way or the other."""
        left_s = self.until_s - time.monotonic()
        held = self.holds()
        if (held or left_s <= 0) and not self.found.done():
            self.found.set_result(held)
        return 0.0 if self.found.done() else left_s


class _Selector(selectors.DefaultSelector):
    """Tells before it blocks."""

    waiter: _Waiter | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As every selector, but never longer than the waiter is patient."""
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self.waiter is not None:
            left_s = self.waiter.left_s()
            timeout = left_s if timeout is None else min(left_s, timeout)
        return super().select(timeout)


class ReplayLoop(asyncio.SelectorEventLoop):
    """An ordinary loop that can be asked to wait for rest."""

    def __init__(self) -> None:
        self._watch = _Selector()
        super().__init__(self._watch)

    async def until(self, holds: Callable[[], bool], patience_s: float = PATIENCE_S) -> bool:
        """Wait until the loop is at rest and `holds()`; False when that took too long."""
        waiter = _Waiter(holds, self.create_future(), time.monotonic() + patience_s)
        self._watch.waiter = waiter
        try:
            return await waiter.found
        finally:
            self._watch.waiter = None


def replay_loop() -> ReplayLoop:
    """The loop this runs on."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ReplayLoop)
    return loop


def on_replay_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run it to its end on a loop of its own."""
    with asyncio.Runner(loop_factory=ReplayLoop) as runner:
        return runner.run(work)
