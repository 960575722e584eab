"""An engine and what may be asked of it go in; the tests beside this file put it through everything.

An engine of another package is tested with

    python -m pytest tests/engine_conformance --engine stt:NAME --engine tts:NAME --engine vad:NAME

where NAME is its entry point in the group `bargein.stt`, `bargein.tts` or `bargein.vad`. Without
`--engine` it is the engines of this repository that need no download.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import psutil

from engines.protocols import Hypothesis, SttEngine, SttSession, Vad, Voice

RATE = 16_000
CLOSING_S = 10.0
"""Closing waits for work under way, on a busy machine too, and for nothing else."""
Making = Callable[[], AbstractAsyncContextManager[SttEngine]]


@dataclass(frozen=True)
class SttCase:
    """A recogniser, loaded and closed by `making`, and two things it understands.

    `said`: mono int16 PCM at 16 kHz and its words. `cycles`: sessions opened and closed in a row.
    `fresh`: one that is closed at the end and not loaded at the beginning.
    """

    name: str
    making: Making
    said: tuple[tuple[bytes, str], tuple[bytes, str]]
    cycles: int = 10
    fresh: Making | None = None


@dataclass(frozen=True)
class TtsCase:
    """A voice. `repeats`: the same text is the same sound, byte for byte. `fresh`: as in SttCase."""

    name: str
    making: Callable[[], AbstractAsyncContextManager[Voice]]
    text: str = "Hello there. This is what I sound like, word by word."
    long_text: str = "The keeper climbed the hundred steps of her lighthouse every evening. " * 4
    cycles: int = 20
    repeats: bool = True
    fresh: Callable[[], AbstractAsyncContextManager[Voice]] | None = None


@dataclass(frozen=True)
class VadCase:
    """A voice activity detector, and speech it must notice."""

    name: str
    make: Callable[[], Vad]
    speech: bytes
    cycles: int = 50


@asynccontextmanager
async def opened(engine: SttEngine) -> AsyncGenerator[SttSession, None]:
    """A session, closed again whatever happens, and in time."""
    session = await engine.open()
    try:
        yield session
    finally:
        async with asyncio.timeout(CLOSING_S):
            await session.close()


def utter(
    session: SttSession, number: int, first: int, pcm: bytes, packets: Sequence[int] = (640,)
) -> None:
    """A whole utterance, in packets of these many bytes in turn."""
    session.begin(number, first)
    at = turn = 0
    while at < len(pcm):
        size = packets[turn % len(packets)]
        session.feed(pcm[at : at + size])
        at, turn = at + size, turn + 1
    session.finish()


async def finals(session: SttSession, count: int) -> tuple[list[Hypothesis], list[Hypothesis]]:
    """All that is said until the final number `count`: finals and partials."""
    done: list[Hypothesis] = []
    partials: list[Hypothesis] = []
    async for guess in session.results():
        (done if guess.final else partials).append(guess)
        if len(done) == count:
            break
    return done, partials


@dataclass(frozen=True)
class Held:
    """What a process holds: threads, file descriptors, children, and memory in MB."""

    threads: int
    files: int
    children: int
    rss_mb: float


def held() -> Held:
    """Now, after what can be let go of was."""
    gc.collect()
    process = psutil.Process()
    rss_mb = process.memory_info().rss / 1e6
    files = len(os.listdir("/proc/self/fd"))
    return Held(threading.active_count(), files, len(process.children()), rss_mb)
