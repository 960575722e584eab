"""Honest small engines: nothing is recognised, an answer is an echo, a voice hums, loud is speech."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from engines.energy import level_dbfs
from engines.protocols import Chunk, Spoken
from schemas import Message

WINDOW_BYTES = 1024
"""32 ms at 16 kHz."""
WORD_MS = 100


class Loudness:
    """A VAD: each window above -40 dBFS is speech."""

    def __init__(self) -> None:
        self._rest = b""

    def load(self) -> None:
        """There is nothing to load."""

    def open(self) -> Loudness:
        """One of its own for each stream."""
        return Loudness()

    def push(self, pcm: bytes) -> list[float]:
        """A probability for each window completed."""
        sound = self._rest + pcm
        whole = len(sound) // WINDOW_BYTES * WINDOW_BYTES
        self._rest = sound[whole:]
        windows = range(0, whole, WINDOW_BYTES)
        return [float(level_dbfs(sound[at : at + WINDOW_BYTES]) > -40) for at in windows]


class Parrot:
    """A chat: repeats the last message, word by word."""

    async def load(self) -> None:
        """There is nothing to load."""

    async def close(self) -> None:
        """There is nothing to give back."""

    def forget(self, call: str) -> None:
        """Nothing is remembered."""

    async def stream(
        self, messages: Sequence[Message], call: str = ""
    ) -> AsyncGenerator[str, None]:
        """What was said last."""
        for word in messages[-1].content.split() if messages else ():
            await asyncio.sleep(0)
            yield f"{word} "


class Hum:
    """A voice: every word is 100 ms of the same level."""

    rate = 16_000

    async def load(self) -> None:
        """There is nothing to load."""

    async def close(self) -> None:
        """There is nothing to give back."""

    async def stream(self, text: str) -> AsyncGenerator[Chunk, None]:
        """A chunk a word."""
        size = self.rate * WORD_MS // 1000
        for number, word in enumerate(text.split()):
            await asyncio.sleep(0)
            spoken = Spoken(word, number * size, (number + 1) * size)
            yield Chunk(b"\x00\x10" * size, (spoken,))
