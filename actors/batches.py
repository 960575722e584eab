"""The batch engine as one stream asks it: within a budget, never for longer than it may take."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from actors.degraded import Allowance
from actors.kept_sound import KeptSound
from actors.pinned import failing
from bus.runtime import Emit
from engines.protocols import BatchStt, EngineError, Hypothesis
from schemas import EngineFailed, EngineWorked

log = structlog.get_logger()
RATE = 16_000


class Batches:
    """`hangs`: it did not answer in time, and nothing has worked since."""

    def __init__(
        self,
        call: str,
        engine: BatchStt | None,
        allowance: Allowance,
        wait_s: float,
        kept: KeptSound,
        emit: Emit,
    ) -> None:
        """`wait_s`: it may take so long, and as long as the sound lasts."""
        self._call, self._engine, self._allowance, self._wait_s = call, engine, allowance, wait_s
        self._kept, self._emit = kept, emit
        self.hangs = False

    async def recognised(self, first: int, end: int) -> Hypothesis | None:
        """What it makes of samples [first, end) at 16 kHz; None when it could not be asked."""
        if self._engine is None:
            return None
        if not self._allowance.spend((end - first) / RATE, self._emit.clock.now()):
            log.warning("batch budget used up; the sound is kept", call_id=self._call)
            return None
        limit_s = self._wait_s + (end - first) / RATE
        try:
            sound = await self._kept.sound(first, end)
            guess = await self._in_time(self._engine.transcribe(sound, first), limit_s)
        except EngineError as error:
            why = str(error)
            log.error("batch failed; the chunk stays in front", call_id=self._call, error=why)
            self._emit(EngineFailed(call=self._call, service="stt_batch", error=why))
            return None
        self._emit(EngineWorked(call=self._call, service="stt_batch"))
        return guess

    async def _in_time(self, work: Coroutine[Any, Any, Hypothesis], limit_s: float) -> Hypothesis:
        """An engine that hangs has failed: nothing waits for it for ever."""
        clock = self._emit.clock
        task = asyncio.get_running_loop().create_task(work)
        late = False

        def stop() -> None:
            nonlocal late
            late = True
            task.cancel()

        alarm = clock.call_at(clock.now() + int(limit_s * 1e9), stop)
        try:
            with failing():
                return await task
        except asyncio.CancelledError:
            if late:
                self.hangs = True
                raise EngineError(
                    f"no words from the batch engine within {limit_s:.0f} s"
                ) from None
            raise
        finally:
            alarm.cancel()
