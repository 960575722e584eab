"""stt: caller sound and where speech begins and ends come in; partial and final words go out."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

import structlog
from ulid import ULID

from bus.runtime import Emit
from engines.protocols import EngineError, Hypothesis, SttEngine, SttSession
from schemas import (
    CallClosed,
    CallerPcm,
    CallOpened,
    EngineFailed,
    Event,
    Final,
    Partial,
    SpeechContinued,
    SpeechEnded,
    SpeechStarted,
    Word,
)

log = structlog.get_logger()
SAMPLES_PER_MS = 16
REOPEN_EVERY_S = 0.5
RING_MS = 3000
"""Sound kept before an onset: more than the pre-roll, since the onset is reported late."""


@dataclass
class Ear:
    """One channel of one call: a session of the engine, and the sound of the last seconds."""

    channel: int
    session: SttSession
    stt_session: str
    ring: deque[CallerPcm] = field(default_factory=deque)
    begun: list[int] = field(default_factory=list)
    current: int | None = None
    fed_to: int = 0
    began_at: int = 0
    settled_at: int | None = None
    """How much voice there was when the words were settled; None while they are open."""


class SttActor:
    """Recognises what is said between an onset, less the pre-roll, and the end of speech."""

    name = "stt"
    hears = (CallerPcm, SpeechStarted, SpeechContinued, SpeechEnded, CallOpened, CallClosed)

    def __init__(
        self,
        engine: SttEngine,
        preroll_ms: int = 400,
        max_utterance_s: float = 30.0,
        lull_ms: int = 96,
    ) -> None:
        """`lull_ms`: a pause of that length has the words settled, so that the final is there early."""
        self._engine = engine
        self._preroll = preroll_ms * SAMPLES_PER_MS
        self._lull = lull_ms * SAMPLES_PER_MS
        self._longest = int(max_utterance_s * 16_000)
        self._ears: dict[tuple[str, int], Ear] = {}

    async def load(self) -> None:
        await self._engine.load()

    async def close(self) -> None:
        await self._engine.close()

    def gauges(self) -> dict[str, float]:
        """Open sessions."""
        return {"open_sessions": float(len(self._ears))}

    async def react(self, event: Event, emit: Emit) -> None:
        if isinstance(event, CallerPcm):
            self._feed(await self._ear(event.call, event.channel, emit), event)
        elif isinstance(event, SpeechStarted):
            self._begin(await self._ear(event.call, event.channel, emit), event.onset)
        elif isinstance(event, SpeechContinued):
            self._pause(await self._ear(event.call, event.channel, emit), event)
        elif isinstance(event, SpeechEnded):
            self._finish(await self._ear(event.call, event.channel, emit))
        elif isinstance(event, CallOpened):
            for channel in range(event.channels):
                await self._ear(event.call, channel, emit)
        elif isinstance(event, CallClosed):
            await self._hang_up(event.call)

    async def _ear(self, call: str, channel: int, emit: Emit) -> Ear:
        if (ear := self._ears.get((call, channel))) is None:
            session = await self._engine.open()
            ear = Ear(channel, session, str(ULID()))
            self._ears[call, channel] = ear
            emit.background(self._report(call, ear, emit))
        return ear

    def _begin(self, ear: Ear, onset: int) -> None:
        """From the pre-roll on: the first syllables were said before speech was detected."""
        start = max(0, onset - self._preroll)
        kept = [frame for frame in ear.ring if frame.end > start]
        ear.current, ear.settled_at = onset, None
        ear.began_at = ear.fed_to = max(start, kept[0].first) if kept else start
        ear.begun.append(onset)
        ear.session.begin(onset, ear.fed_to)
        for frame in kept:
            self._give(ear, frame)

    def _feed(self, ear: Ear, frame: CallerPcm) -> None:
        ear.ring.append(frame)
        while ear.ring[0].end < frame.end - RING_MS * SAMPLES_PER_MS:
            ear.ring.popleft()
        if ear.current is None:
            return
        self._give(ear, frame)
        if ear.fed_to - ear.began_at >= self._longest:
            onset = ear.current
            self._finish(ear)
            self._begin_anew(ear, onset)

    def _begin_anew(self, ear: Ear, onset: int) -> None:
        """Speech longer than an engine should hold goes on under the same name."""
        ear.current, ear.began_at, ear.settled_at = onset, ear.fed_to, None
        ear.begun.append(onset)
        ear.session.begin(onset, ear.fed_to)

    def _pause(self, ear: Ear, event: SpeechContinued) -> None:
        """Settle the words at a lull; open them again when there was voice since."""
        if ear.current != event.onset:
            return
        if ear.settled_at is not None and ear.settled_at != event.voiced:
            ear.session.resume()
            ear.settled_at = None
        if ear.settled_at is None and event.silent >= self._lull:
            ear.session.settle()
            ear.settled_at = event.voiced

    def _give(self, ear: Ear, frame: CallerPcm) -> None:
        missing = frame.first - ear.fed_to
        if 0 < missing <= RING_MS * SAMPLES_PER_MS:
            ear.session.feed(bytes(2 * missing))  # silence, so that positions stay true
        ear.session.feed(frame.pcm[2 * max(0, -missing) :])
        ear.fed_to = max(ear.fed_to, frame.end)

    def _finish(self, ear: Ear) -> None:
        if ear.current is not None:
            ear.session.finish()
            ear.current = None

    async def _report(self, call: str, ear: Ear, emit: Emit) -> None:
        """What the engine makes of it, until the call is over."""
        while True:
            try:
                async for guess in ear.session.results():
                    if guess.final and ear.begun:
                        ear.begun.pop(0)
                    emit(_words(call, ear, guess, more=guess.utterance in ear.begun))
                return
            except EngineError as error:
                log.error("recogniser failed", call_id=call, error=str(error))
                emit(EngineFailed(call=call, service="stt", error=str(error)))
                await self._reopen(call, ear, emit)

    async def _reopen(self, call: str, ear: Ear, emit: Emit) -> None:
        """A new session; what the old one owed is answered empty, so that no turn waits for it."""
        for onset in ear.begun:
            guess = Hypothesis(onset, "", onset, ear.fed_to, final=True)
            emit(_words(call, ear, guess))
        ear.begun.clear()
        ear.current = None
        await ear.session.close()
        while True:
            try:
                ear.session, ear.stt_session = await self._engine.open(), str(ULID())
                return
            except EngineError as error:
                log.error("recogniser can't be opened; trying again", call_id=call, why=str(error))
                await asyncio.sleep(REOPEN_EVERY_S)

    async def _hang_up(self, call: str) -> None:
        for key in [key for key in self._ears if key[0] == call]:
            ear = self._ears.pop(key)
            await ear.session.close()


def _words(call: str, ear: Ear, guess: Hypothesis, more: bool = False) -> Event:
    if not guess.final:
        return Partial(
            call=call,
            channel=ear.channel,
            utterance=guess.utterance,
            text=guess.text,
            start=guess.start,
            end=guess.end,
            stt_session=ear.stt_session,
            settled=guess.settled,
        )
    return Final(
        call=call,
        channel=ear.channel,
        utterance=guess.utterance,
        text=guess.text,
        start=guess.start,
        end=guess.end,
        words=tuple(Word(word.text, word.start, word.end) for word in guess.words),
        stt_session=ear.stt_session,
        more=more,
    )
