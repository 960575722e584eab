"""Sound goes in; the odds that it wants the floor come back in the loop, computed on a thread of their own.

Networks take 5 to 15 ms of one core. In the loop, 50 calls would wait for each other's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import structlog

log = structlog.get_logger()
UNKNOWN = 0.0


class Aside:
    """Asked in one loop; answers come in the order of the questions. Closed, it answers nothing more."""

    def __init__(self, odds: Callable[[bytes], float]) -> None:
        """`odds`: natural log-odds of 16-bit samples at 16 kHz."""
        self._odds = odds
        self._thread = ThreadPoolExecutor(1, "floor")
        self._closed = False

    def __call__(self, pcm: bytes, then: Callable[[float], None]) -> None:
        """`then` is told the odds; UNKNOWN where the networks failed."""
        loop = asyncio.get_running_loop()

        def answered(found: Future[float]) -> None:
            if not self._closed:
                loop.call_soon_threadsafe(self._tell, found, then)

        self._thread.submit(self._odds, pcm).add_done_callback(answered)

    def close(self) -> None:
        """What is being computed ends by itself, for nobody."""
        self._closed = True
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _tell(self, found: Future[float], then: Callable[[float], None]) -> None:
        if self._closed:
            return
        if (error := found.exception()) is not None:
            log.error("the networks that tell who wants the floor failed", exc_info=error)
        then(UNKNOWN if error is not None else found.result())
