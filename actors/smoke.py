"""The speech smoke test: after a call a voice says a short phrase to nobody, and its samples are looked at.

It is made as a caller's sentence is, and gives way to one at once: what it had begun is stopped like a
cancelled turn, and done anew when nobody is spoken to any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

import structlog

from actors.sound_check import Bounds, Heard, check
from bus.clock import NS_PER_MS, Clock
from engines.protocols import Chunk, EngineError

log = structlog.get_logger()


@dataclass(frozen=True)
class Phrase:
    """What is said, what its sound must be, and for how long (ms) nobody is spoken to before."""

    text: str
    bounds: Bounds
    quiet_ms: float


@dataclass(frozen=True)
class Voices:
    """`next`: the voice that the next sentence would have, if any; `sound`: its chunks, at `rate` Hz."""

    next: Callable[[], str | None]
    sound: Callable[[str, str], AsyncGenerator[Chunk, None]]
    rate: Callable[[], int]


class Smoke:
    """At most one at a time; calls that close together share one. Without a phrase it does nothing."""

    def __init__(self, phrase: Phrase | None, voices: Voices) -> None:
        self._phrase, self._voices = phrase, voices
        self._due = self._leaving = self._stuck = False
        self._task: asyncio.Task[None] | None = None
        self._clock: Clock | None = None
        self._began_ns = self._ended_ns = 0
        self._heard = Heard(0.0, 0.0)
        self._runs = self._failures = self._gave_way = 0
        self.voice = ""

    def due(self, clock: Clock) -> None:
        """A call is over."""
        self._clock, self._due = clock, self._phrase is not None

    def begin(self) -> None:
        """Nobody is spoken to."""
        if self._due and self._task is None and self._phrase and self._clock:
            self._leaving = self._stuck = False
            self._task = asyncio.get_running_loop().create_task(
                self._run(self._phrase, self._clock)
            )
            self._task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("speech smoke test broke off", exc_info=error)
            self._record(Heard(0.0, 0.0, repr(error)))

    async def give_way(self, within_s: float | None = None) -> asyncio.Task[None] | None:
        """Stop, because somebody is to be spoken to; what has not stopped `within_s`, if anything.

        Cancelled once, whoever asks: twice would orphan the engine's thread. Waited for once, too.
        """
        if (task := self._task) is None:
            return None
        if not self._leaving:
            self._leaving = True
            task.cancel()
        if within_s is None or not self._stuck:
            await asyncio.wait({task}, timeout=within_s)
        self._stuck = not task.done()
        return task if self._stuck else None

    async def close(self) -> None:
        """No other one will be made."""
        self._phrase, self._due = None, False
        await self.give_way()

    async def _run(self, phrase: Phrase, clock: Clock) -> None:
        await clock.sleep_until(clock.now() + int(phrase.quiet_ms * NS_PER_MS))
        self._began_ns = clock.now()
        try:
            if (voice := self._voices.next()) is None:
                raise EngineError("no voice may be asked now: see `bargein breaker`")
            self.voice = voice
            heard = await self._listen(phrase)
        except EngineError as error:
            heard = Heard(0.0, 0.0, str(error))
        except asyncio.CancelledError:
            self._gave_way += 1
            raise
        self._record(heard)

    async def _listen(self, phrase: Phrase) -> Heard:
        rate = self._voices.rate()
        pcm, most = bytearray(), int(2 * rate * (phrase.bounds.most_ms + 1) / 1000)
        async with aclosing(self._voices.sound(self.voice, phrase.text)) as chunks:
            async for chunk in chunks:
                pcm += chunk.pcm
                if len(pcm) > most:
                    break
        return check(bytes(pcm), rate, phrase.bounds)

    def _record(self, heard: Heard) -> None:
        self._due, self._heard = False, heard
        self._ended_ns = self._clock.now() if self._clock else 0
        self._runs += 1
        self._failures += bool(heard.why)
        if heard.why:
            log.error("speech smoke test failed", endpoint=self.voice, why=self.trouble())
        else:
            log.info("speech smoke test passed", endpoint=self.voice, **self.gauges())

    def trouble(self) -> str:
        """Why the last one failed, and what to do; "" when it did not."""
        if not self._heard.why:
            return ""
        return (
            f"speech smoke test failed, voice {self.voice!r}: {self._heard.why}; callers may hear "
            "nothing: `bargein restart tts`, then see var/log/tts.log"
        )

    def gauges(self) -> dict[str, float]:
        """Counts; and of the last one whether it passed (1 or 0), its age, its sound, how long it took."""
        if self._phrase is None:
            return {}
        found = {
            "smoke_runs": float(self._runs),
            "smoke_failures": float(self._failures),
            "smoke_gave_way": float(self._gave_way),
        }
        if self._runs and self._clock:
            found |= {
                "smoke_passed": float(not self._heard.why),
                "smoke_age_s": round((self._clock.now() - self._ended_ns) / 1e9, 1),
                "smoke_sound_ms": self._heard.ms,
                "smoke_dbfs": self._heard.dbfs,
                "smoke_took_ms": round((self._ended_ns - self._began_ns) / NS_PER_MS, 1),
            }
        return found
