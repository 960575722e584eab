"""An engine that understands nothing: sound goes in, one empty final per utterance comes out.

For benchmarks of everything but recognition; `stt.engine = "null"` in fleet.toml.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from engines.protocols import Hypothesis


class NullSession:
    """Counts samples so that positions are right."""

    def __init__(self) -> None:
        self._results: asyncio.Queue[Hypothesis | None] = asyncio.Queue()
        self._utterance = self._first = self._end = 0

    def begin(self, utterance: int, first: int) -> None:
        self._utterance, self._first, self._end = utterance, first, first

    def feed(self, pcm: bytes) -> None:
        self._end += len(pcm) // 2

    def finish(self) -> None:
        guess = Hypothesis(self._utterance, "", self._first, self._end, final=True)
        self._results.put_nowait(guess)

    def settle(self) -> None:
        """There is nothing to be settled."""

    def resume(self) -> None:
        """Nothing was settled."""

    async def results(self) -> AsyncGenerator[Hypothesis, None]:
        while (guess := await self._results.get()) is not None:
            yield guess

    async def close(self) -> None:
        self._results.put_nowait(None)


class NullEngine:
    """Needs no model."""

    async def load(self) -> None:
        """There is nothing to load."""

    async def open(self) -> NullSession:
        return NullSession()

    async def close(self) -> None:
        """There is nothing to give back."""
