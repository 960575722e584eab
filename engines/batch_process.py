"""A recogniser in a process of its own as a BatchStt: recorded sound in, all its words out at once.

One decoder process at a time, started for the stretch and ended after it: it is there when the live ones
are in trouble, and leaves the cores to them (its process is nice).
"""

from __future__ import annotations

import asyncio

from engines.protocols import EngineError, Hypothesis
from engines.stt_process import Decoder, alone

NO_PARTIALS_MS = 3_600_000
PACKET_BYTES = 32_000


class ProcessBatch:
    """Slow and steady; pocketsphinx takes about 0.15 s of one core per second of sound."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._one = asyncio.Semaphore(1)

    async def load(self) -> None:
        """A decoder is started when there is work. Raises EngineError when something is not installed."""
        self._decoder.check()

    async def transcribe(self, pcm: bytes, first: int) -> Hypothesis:
        """All words of `pcm`; positions are those of the call. Raises EngineError."""
        async with self._one:
            session = await alone(self._decoder, NO_PARTIALS_MS)
            try:
                session.begin(first, first)
                for at in range(0, len(pcm), PACKET_BYTES):
                    session.feed(pcm[at : at + PACKET_BYTES])
                session.finish()
                async for guess in session.results():
                    if guess.final:
                        return guess
                raise EngineError("the decoder ended without a word: the sound is kept")
            finally:
                await session.close()

    async def close(self) -> None:
        """Nothing is kept between two stretches."""
