"""Voices that could not be loaded: why, and tried again beside all else, never while a caller waits."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from bus.clock import Clock
from engines.protocols import EngineError, Voice

log = structlog.get_logger()
LONGEST_PAUSE_S = 60.0


class Loading:
    """`voices` by endpoint. What is missing is tried again after `pause_s`, twice that …, 60 s."""

    def __init__(self, voices: Mapping[str, Voice], pause_s: float) -> None:
        self._voices, self._pause_s = voices, pause_s
        self._task: asyncio.Task[None] | None = None
        self.missing = dict.fromkeys(voices, "it was not tried yet")
        """Endpoint → why it is not loaded."""

    @property
    def ready(self) -> list[str]:
        """Those that can be asked, in order."""
        return [name for name in self._voices if name not in self.missing]

    async def once(self) -> None:
        """Try what is missing, one after the other."""
        for name in list(self.missing):
            try:
                await self._voices[name].load()
            except EngineError as error:
                self._failed(name, str(error))
            else:
                del self.missing[name]

    def go_on(self, clock: Clock) -> None:
        """Try again in the background until nothing is missing."""
        if self.missing and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._again(clock))

    async def _again(self, clock: Clock) -> None:
        pause_s = self._pause_s
        while self.missing:
            await clock.sleep_until(clock.now() + int(pause_s * 1e9))
            pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)
            before = set(self.missing)
            try:
                await self.once()
            except Exception as error:  # a library's own: here nobody else would see it
                log.exception("voice can't be loaded")
                self.missing |= dict.fromkeys(self.missing, repr(error))
            for name in before - set(self.missing):
                log.info("voice is loaded after all", endpoint=name)

    def _failed(self, name: str, why: str) -> None:
        self.missing[name] = why
        log.error("voice can't be loaded", endpoint=name, why=why)

    async def close(self) -> None:
        """Nothing is tried any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def trouble(self) -> str:
        """Which ones are missing and why; "" when none is."""
        return "; ".join(
            f"voice {name!r} is not loaded, others speak: {why} (tried again every "
            f"{LONGEST_PAUSE_S:.0f} s at least; what was installed needs `bargein restart tts`)"
            for name, why in self.missing.items()
        )
