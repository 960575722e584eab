"""Sound goes in; the odds of what is asked come back in the loop, computed on a thread of their own.

Networks take 5 to 40 ms of one core. In the loop, 50 calls would wait for each other's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import structlog

log = structlog.get_logger()
UNKNOWN = 0.0
Then = Callable[[float], None]
Found = Future[float]
LONGEST_S = 0.5
"""A verdict that waits for longer is better given without."""


class Aside:
    """Asked in one loop, answers there, each question once. Closed, it answers nothing more.

    Too many questions at once, or networks that hang: what takes over LONGEST_S is UNKNOWN, and not begun.
    """

    def __init__(self, odds: Callable[[bytes], float]) -> None:
        """`odds`: natural log-odds of 16-bit samples at 16 kHz."""
        self._odds = odds
        self._name = str(getattr(odds, "__name__", type(odds).__name__))
        self._thread = ThreadPoolExecutor(1, self._name)
        self._open: set[Found] = set()

    def __call__(self, pcm: bytes, then: Then) -> None:
        """`then` is told the odds; UNKNOWN where the networks failed or took too long."""
        loop = asyncio.get_running_loop()
        found = self._thread.submit(self._odds, pcm)
        self._open.add(found)
        timer = loop.call_later(LONGEST_S, self._too_late, found, then)
        found.add_done_callback(partial(self._answered, loop, timer, then))

    def close(self) -> None:
        """What is being computed ends by itself, for nobody."""
        self._open.clear()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _answered(
        self, loop: asyncio.AbstractEventLoop, timer: asyncio.TimerHandle, then: Then, found: Found
    ) -> None:
        """On the thread."""
        if found in self._open:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(self._tell, found, timer, then)

    def _tell(self, found: Found, timer: asyncio.TimerHandle, then: Then) -> None:
        if found not in self._open:
            return
        self._open.remove(found)
        timer.cancel()
        if (error := found.exception()) is not None:
            log.error("networks failed: decided without", networks=self._name, exc_info=error)
        then(UNKNOWN if error is not None else found.result())

    def _too_late(self, found: Found, then: Then) -> None:
        if found in self._open:
            self._open.remove(found)
            log.warning(
                "networks are late: decided without", networks=self._name, limit_s=LONGEST_S
            )
            found.cancel()
            then(UNKNOWN)
