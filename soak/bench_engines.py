"""Artificial chats and voices: honest small engines that are slow, deaf or greedy in one named way.

`clean`; `llm-cleanup`: closing the stream takes 300 ms; `llm-ignores`: cancellation is swallowed
and generation goes on for ever; `tts-blocks`: 150 ms of every 240 are spent without yielding. A
variant that names no engine behaves as `clean`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence

import numpy as np

from engines.protocols import Chunk, Hypothesis, Spoken
from engines.stt_null import NullEngine, NullSession
from schemas import Message

RATE = 16_000
WORD = 3200
"""Samples of a word: 200 ms."""
STEP = 100
"""Samples of one level: the level tells the position in the sentence's sound."""
WORDS_IN_SENTENCE = 20
TOKEN_S = 0.002
CLEAN_UP_S = 0.3
BLOCKED_S, PERIOD_S = 0.150, 0.240
WORDS_AT_ONCE = 2


def sentence(index: int) -> str:
    """The text of a sentence; each of its words is told from all others."""
    return " ".join(f"w{index}x{number}" for number in range(WORDS_IN_SENTENCE)) + ". "


class CleanChat:
    """Goes on for minutes, a token every 2 ms."""

    sentences = 40

    async def load(self) -> None:
        """There is no model."""

    async def close(self) -> None:
        """There is nothing to give back."""

    def forget(self, call: str) -> None:
        """Nothing is remembered."""

    async def stream(
        self, messages: Sequence[Message], call: str = ""
    ) -> AsyncGenerator[str, None]:
        """Sentences, word by word."""
        for index in range(self.sentences):
            for token in sentence(index).split(" "):
                await self._wait()
                yield f"{token} "

    async def _wait(self) -> None:
        await asyncio.sleep(TOKEN_S)


class SlowToClose(CleanChat):
    """Needs 300 ms to end, as a client that says goodbye to its server."""

    async def stream(
        self, messages: Sequence[Message], call: str = ""
    ) -> AsyncGenerator[str, None]:
        """The same sentences."""
        try:
            async for token in super().stream(messages, call):
                yield token
        finally:
            await asyncio.sleep(CLEAN_UP_S)


class Deaf(CleanChat):
    """Swallows cancellation and goes on, for ever."""

    sentences = 1_000_000

    async def _wait(self) -> None:
        try:
            await asyncio.sleep(TOKEN_S)
        except asyncio.CancelledError:
            await self._wait()


class CleanVoice:
    """Words of 200 ms each, at once; no sample is zero, and each level tells where it belongs."""

    rate = RATE

    async def load(self) -> None:
        """There is no model."""

    async def close(self) -> None:
        """There is nothing to give back."""

    async def stream(self, text: str) -> AsyncGenerator[Chunk, None]:
        """Two words at a time, placed exactly."""
        words = text.split()
        for first in range(0, len(words), WORDS_AT_ONCE):
            await self._make()
            some = words[first : first + WORDS_AT_ONCE]
            spoken = tuple(
                Spoken(word, (first + n) * WORD, (first + n + 1) * WORD)
                for n, word in enumerate(some)
            )
            yield Chunk(_sound(first * WORD, len(some) * WORD), spoken)

    async def _make(self) -> None:
        await asyncio.sleep(0)


class Greedy(CleanVoice):
    """Holds its CPU, and its event loop, 150 ms of every 240."""

    async def _make(self) -> None:
        until = time.perf_counter() + BLOCKED_S
        while time.perf_counter() < until:
            pass
        await asyncio.sleep(PERIOD_S - BLOCKED_S)


def _sound(first: int, count: int) -> bytes:
    positions = np.arange(first, first + count) // STEP
    return (1000 + positions).astype("<i2").tobytes()


class ParrotSession(NullSession):
    """Understands the same in everything."""

    def finish(self) -> None:
        """One final, whatever was said."""
        self._results.put_nowait(
            Hypothesis(self._utterance, "go on", self._first, self._end, final=True)
        )


class Parrot(NullEngine):
    """So that a turn begins without waiting for a recogniser."""

    async def open(self) -> ParrotSession:
        """A session."""
        return ParrotSession()


def words(count: int) -> list[str]:
    """The first `count` words of the answer."""
    sentences = range(count // WORDS_IN_SENTENCE + 1)
    return [word for index in sentences for word in sentence(index).split()][:count]


def heard_of(samples: int) -> list[str]:
    """The words whose midpoint lies within the first `samples` of an answer."""
    return words((samples + WORD // 2) // WORD)


def chat(variant: str) -> CleanChat:
    """The chat of a variant."""
    return {"llm-cleanup": SlowToClose, "llm-ignores": Deaf}.get(variant, CleanChat)()


def voice(variant: str) -> CleanVoice:
    """The voice of a variant."""
    return {"tts-blocks": Greedy}.get(variant, CleanVoice)()
