"""Real engines with faults on order: an engine and Orders go in, the same engine, less reliable, comes out.

What a recogniser was given for each result is written down, so that a run can compare it with what the
caller said.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

from engines.protocols import (
    BatchStt,
    Chunk,
    EngineError,
    Hypothesis,
    Spoken,
    SttEngine,
    SttSession,
    Vad,
    VadSession,
    Voice,
)
from soak.chaos.orders import HARNESS, Orders, send

ORDERED = "failed on order: nothing to do, this is chaos"
LONG_TEXT = "garbage " * 2000


class Notes:
    """What was recognised from which samples."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir

    def add(self, start: int, end: int, crc: int, batch: bool = False) -> None:
        """A result is about to leave."""
        send(self._run_dir, HARNESS, start=start, end=end, crc=crc, batch=batch)


@dataclass
class Given:
    """One utterance: its samples begin at `first`."""

    first: int
    samples: int = 0
    crc: int = 0


class FaultySession:
    """A session of the real engine. What it does not define, such as `worked_on`, is the engine's."""

    def __init__(self, inner: SttSession, orders: Orders, notes: Notes) -> None:
        self._inner, self._orders, self._notes = inner, orders, notes
        self._given: deque[Given] = deque()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _fail(self, at: str) -> None:
        if self._orders.take(at) == "raise":
            raise EngineError(ORDERED)

    def begin(self, utterance: int, first: int) -> None:
        self._fail("begin")
        self._given.append(Given(first))
        self._inner.begin(utterance, first)

    def feed(self, pcm: bytes) -> None:
        self._fail("feed")
        given = self._given[-1]
        given.samples += len(pcm) // 2
        given.crc = crc32(pcm, given.crc)
        self._inner.feed(pcm)

    def finish(self) -> None:
        self._fail("finish")
        self._inner.finish()

    def settle(self) -> None:
        self._inner.settle()

    def resume(self) -> None:
        self._inner.resume()

    async def results(self) -> AsyncGenerator[Hypothesis, None]:
        async with aclosing(self._inner.results()) as results:  # type: ignore[type-var] # generators all
            async for guess in results:
                order = self._orders.take("results")
                if order == "raise":
                    raise EngineError(ORDERED)
                if order == "garbage":
                    for bad in garbage(guess):
                        yield bad
                if guess.final:
                    given = self._given.popleft()
                    self._notes.add(given.first, given.first + given.samples, given.crc)
                yield guess

    async def close(self) -> None:
        await self._inner.close()


def garbage(guess: Hypothesis) -> list[Hypothesis]:
    """Words of nowhere, of the future, without end, and a final for what was never begun."""
    word = Spoken("", guess.end + 10**9, guess.start - 10**9)
    return [
        replace(guess, text=LONG_TEXT, final=False),
        replace(guess, text="\x00\ufffd", words=(word,), start=-5, end=-7, final=False),
        replace(guess, utterance=guess.utterance + 10**12, text="never said", final=True),
        replace(guess, utterance=-3, text="", final=True),
    ]


class FaultyEngine:
    """An SttEngine."""

    def __init__(self, inner: SttEngine, orders: Orders, notes: Notes) -> None:
        self._inner, self._orders, self._notes = inner, orders, notes

    async def load(self) -> None:
        await self._inner.load()

    async def open(self) -> FaultySession:
        if self._orders.take("open") == "raise":
            raise EngineError(ORDERED)
        return FaultySession(await self._inner.open(), self._orders, self._notes)

    async def close(self) -> None:
        await self._inner.close()


class FaultyBatch:
    """A BatchStt."""

    def __init__(self, inner: BatchStt, orders: Orders, notes: Notes) -> None:
        self._inner, self._orders, self._notes = inner, orders, notes

    async def load(self) -> None:
        await self._inner.load()

    async def transcribe(self, pcm: bytes, first: int) -> Hypothesis:
        order = self._orders.take("batch")
        if order == "raise":
            raise EngineError(ORDERED)
        if order == "hang":
            await asyncio.Event().wait()
        guess = await self._inner.transcribe(pcm, first)
        if order == "garbage":
            backwards = tuple(replace(word, start=-word.start) for word in reversed(guess.words))
            guess = replace(guess, words=backwards, start=-1, end=-1, utterance=-1)
        self._notes.add(first, first + len(pcm) // 2, crc32(pcm), batch=True)
        return guess

    async def close(self) -> None:
        await self._inner.close()


class FaultyVoice:
    """A Voice."""

    def __init__(self, inner: Voice, orders: Orders) -> None:
        self._inner, self._orders = inner, orders

    @property
    def rate(self) -> int:
        return self._inner.rate

    async def load(self) -> None:
        await self._inner.load()

    async def stream(self, text: str) -> AsyncGenerator[Chunk, None]:
        order = self._orders.take("stream")
        if order == "raise":
            raise EngineError(ORDERED)
        if order == "hang":
            await asyncio.Event().wait()
        if order == "garbage":
            yield Chunk(b"\x01", (Spoken("\x00", 10**9, -(10**9)),))
            yield Chunk(b"")
        async with aclosing(self._inner.stream(text)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def close(self) -> None:
        await self._inner.close()


class FaultyVad:
    """A Vad whose sessions raise on order, whatever the engine's own errors are."""

    def __init__(self, inner: Vad, orders: Orders) -> None:
        self._inner, self._orders = inner, orders

    def load(self) -> None:
        self._inner.load()

    def open(self) -> VadSession:
        return FaultyEar(self._inner.open(), self._orders)


class FaultyEar:
    """A VadSession."""

    def __init__(self, inner: VadSession, orders: Orders) -> None:
        self._inner, self._orders = inner, orders

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def push(self, pcm: bytes) -> list[float]:
        if self._orders.take("vad") == "raise":
            raise RuntimeError(ORDERED)
        return self._inner.push(pcm)
