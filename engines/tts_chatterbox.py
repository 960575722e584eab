"""Chatterbox as a Voice: sentences in, chunks of sound with their words out; closing stops the device.

Its packages live in an environment of their own (`make engine-chatterbox`); nothing of them is imported
here.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from engines.chatterbox_model import RATE, ChatterboxModel, ChatterboxSettings
from engines.narration import speakable
from engines.pacing import Pace, Pacing
from engines.protocols import Chunk, EngineError

SAMPLES_PER_CHARACTER = 0.062 * RATE
"""To begin with: 16 characters a second."""


class ChatterboxVoice:
    """One synthesis at a time, on one thread of its own: the device has one."""

    def __init__(self, settings: ChatterboxSettings | None = None) -> None:
        self._model = ChatterboxModel(settings or ChatterboxSettings())
        self._thread = ThreadPoolExecutor(1, "chatterbox")
        self._one = asyncio.Semaphore(1)
        self._pace = Pace(SAMPLES_PER_CHARACTER)
        self._loaded = False

    @property
    def rate(self) -> int:
        """24,000 samples per second."""
        return RATE

    async def load(self) -> None:
        """Weights on the device and one sentence made. Raises EngineError."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._model.load)
        self._loaded = True

    async def stream(self, text: str) -> AsyncGenerator[Chunk, None]:
        """Speak. Closing it returns when the device is idle. Raises EngineError.

        Positions of words are estimates (engines/pacing.py). Text without a letter or digit yields nothing.
        """
        text = speakable(text)
        if not text:
            return
        if not self._loaded:
            raise EngineError("this voice is not loaded; await load() before stream()")
        async with self._one:
            pacing, made = Pacing(text, self._pace), 0
            job = _Job(self._model, text)
            job.begin(self._thread)
            try:
                while (said := await job.said.get()) is not None:
                    pcm, last = said
                    made += len(pcm) // 2
                    words = pacing.until(made)
                    if last:
                        words += pacing.rest(made)
                        self._pace.learn(text, made)
                    yield Chunk(pcm, words)
            finally:
                await job.end()
            job.check()

    async def close(self) -> None:
        """When the thread has ended."""
        self._loaded = False
        with suppress(RuntimeError):  # it was closed before
            self._thread.submit(self._model.close)
        await asyncio.to_thread(self._thread.shutdown)


class _Job:
    """One synthesis, seen from the loop."""

    def __init__(self, model: ChatterboxModel, text: str) -> None:
        self._model, self._text = model, text
        self._stop = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._error: EngineError | None = None
        self.said: asyncio.Queue[tuple[bytes, bool] | None] = asyncio.Queue()
        self._over = asyncio.Event()

    def begin(self, thread: ThreadPoolExecutor) -> None:
        thread.submit(self._speak)

    def _speak(self) -> None:
        """In the thread. No exception leaves it: a Future that holds one holds the model's caches."""
        try:
            self._model.speak(self._text, self._stop, self._tell)
        except EngineError as error:
            self._error = error.with_traceback(None)
        finally:
            self._loop.call_soon_threadsafe(self._done)

    def _tell(self, pcm: bytes, last: bool) -> None:
        self._loop.call_soon_threadsafe(self.said.put_nowait, (pcm, last))

    def _done(self) -> None:
        self.said.put_nowait(None)
        self._over.set()

    async def end(self) -> None:
        """Stop it and wait for the thread, however often the waiting is cancelled."""
        self._stop.set()
        cancelled = False
        while not self._over.is_set():
            try:
                await self._over.wait()
            except asyncio.CancelledError:
                cancelled = True
        if cancelled:
            raise asyncio.CancelledError

    def check(self) -> None:
        if self._error is not None:
            raise self._error
