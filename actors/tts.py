"""tts: sentences come in; their sound and the places of their words go out.

There may be several voices, a ladder of them. When one fails in the middle of a sentence the next says
the words that are left; when all fail the caller hears an apology that was made when we started.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import structlog

from actors.resampler import Resampler
from actors.rungs import Doors, Rungs
from actors.smoke import Phrase, Smoke, Voices
from actors.unsaid import rest
from actors.voice_loading import Loading
from bus.clock import NS_PER_MS
from bus.runtime import Emit, Runtime
from engines.protocols import Chunk, EngineError, Spoken, Voice
from schemas import (
    CallClosed,
    Event,
    Interject,
    LlmFinished,
    Resume,
    Sentence,
    Speech,
    SpokenWords,
    Word,
)

log = structlog.get_logger()
FURTHEST = 1 << 52
"""Sample that a turn is taken up at, at most: what follows can still be told (`Position`)."""
LET_GO_S = 0.25
"""How long a voice that hangs may take to stop before the next one is asked."""
PROBE = "Hello."


@dataclass
class Progress:
    """How far the sound of a turn has got: samples made since `began_ns`, the next sentence's index.

    `begun`: we know where it begins; else its sentences wait for a Resume. `gave_up`: no voice is left.
    """

    turn: int
    began_ns: int
    samples: int = 0
    next: int = 0
    begun: bool = False
    gave_up: bool = False
    waiting: dict[int, Sentence] = field(default_factory=dict)
    ends: int | None = None
    error: str = ""


class TtsActor:
    """Speaks each sentence as it comes; the next one no earlier than `lead_s` before it is due."""

    name = "tts"
    hears: tuple[type[Event], ...] = (
        Sentence,
        Interject,
        LlmFinished,
        Resume,
        CallClosed,
        *Rungs.hears,
    )

    def __init__(
        self,
        voices: Voice | Mapping[str, Voice],
        lead_s: float = 2.0,
        stall_ms: float = 2000,
        apology: str = "",
        doors: Doors | None = None,
        smoke: Phrase | None = None,
        load_pause_s: float = 2.0,
    ) -> None:
        """`voices`: by endpoint, the preferred one first. `stall_ms`: silent for so long, one has failed.

        `apology`: said when none works. `doors`: where the breaker is. `smoke`: said to nobody after
        a call. `load_pause_s`: until a voice that could not be loaded is tried again.
        """
        self._voices: Mapping[str, Voice] = voices if isinstance(voices, Mapping) else {"": voices}
        self._lead_s, self._stall_s, self._apology = lead_s, stall_ms / 1000, apology
        self._rungs = Rungs("tts", tuple(self._voices), self._probe, doors)
        self._loading = Loading(self._voices, load_pause_s)
        self._failed: set[str] = set()
        self._rate = 0
        self._canned: list[Chunk] = []
        self._hanging: dict[str, asyncio.Task[Any]] = {}
        self._spoken: dict[str, Progress] = {}
        self._speaking = 0
        self._smoke = Smoke(smoke, Voices(self._next, self._sound, lambda: self._rate))

    def attach(self, runtime: Runtime) -> None:
        """There is a breaker now, and a clock."""
        self._rungs.attach(runtime)
        self._clock = runtime.clock

    async def load(self) -> None:
        """Ready when one voice is; the apology is made now. Raises EngineError when there is none."""
        self._rungs.begin()
        await self._loading.once()
        ready = self._loading.ready
        if not ready:
            raise EngineError("; ".join(self._loading.missing.values()))
        self._rate = self._voices[ready[0]].rate
        for name in ready:
            if self._apology and not self._canned:
                await self._make_apology(name)
        self._loading.go_on(self._clock)

    async def _make_apology(self, name: str) -> None:
        try:
            async with aclosing(self._sound(name, self._apology)) as chunks:
                self._canned = [chunk async for chunk in chunks]
        except EngineError as error:
            log.error("no apology beforehand", endpoint=name, why=str(error))

    async def close(self) -> None:
        await self._rungs.close()
        await self._loading.close()
        await self._smoke.close()
        for voice in self._voices.values():
            await voice.close()

    def gauges(self) -> dict[str, float]:
        """Voices that are not asked now, are not loaded, hang; and how the speech smoke test stands."""
        return {
            "endpoints_away": float(self._rungs.away),
            "not_loaded": float(len(self._loading.missing)),
            "hanging": float(len(self._hanging)),
            **self._smoke.gauges(),
        }

    def trouble(self) -> str:
        """What is wrong though we are ready; "" when nothing is."""
        return "; ".join(filter(None, (self._loading.trouble(), self._smoke.trouble())))

    async def react(self, event: Event, emit: Emit) -> None:
        if isinstance(event, Sentence | Interject | Resume | LlmFinished):
            await self._turn(event, self._state(event, emit), emit)
        elif isinstance(event, CallClosed):
            self._spoken.pop(event.call, None)
            self._smoke.due(emit.clock)
            self._pause()
        else:
            self._rungs.take(event)

    def _state(self, event: Event, emit: Emit) -> Progress:
        spoken = self._spoken.get(event.call)
        if spoken is None or spoken.turn != event.turn:
            spoken = self._spoken[event.call] = Progress(event.turn, emit.at_ns)
        return spoken

    async def _turn(
        self, event: Sentence | Interject | Resume | LlmFinished, spoken: Progress, emit: Emit
    ) -> None:
        """Sentences in their order, each once; the end when all were said."""
        if isinstance(event, Interject):
            thrown_in = Sentence(call=event.call, turn=event.turn, index=-1, text=event.text)
            await self._speak(thrown_in, spoken, emit)
        elif isinstance(event, Resume):
            self._resume(event, spoken, emit)
        elif isinstance(event, LlmFinished):
            spoken.ends = event.sentences
        else:
            spoken.waiting[event.index] = event
            spoken.begun |= event.index == 0
        while spoken.begun and spoken.waiting:
            sentence = spoken.waiting.pop(min(spoken.waiting))
            if sentence.index >= spoken.next:
                spoken.next = sentence.index + 1
                await self._speak(sentence, spoken, emit)
        if spoken.ends == 0 or (spoken.begun and spoken.ends is not None):
            self._end(event, spoken, emit)

    def _resume(self, event: Resume, spoken: Progress, emit: Emit) -> None:
        """A predecessor has begun this turn; what we began ourselves needs no order."""
        if not spoken.begun:
            rate = self._rate or event.rate
            if (first := event.first * rate // event.rate) <= FURTHEST:
                spoken.samples = max(spoken.samples, first)
            spoken.began_ns = emit.at_ns - event.played_ms * NS_PER_MS
            spoken.begun = True
            spoken.next = min((part.index for part in event.parts), default=event.next)
            spoken.waiting |= {
                part.index: Sentence(
                    call=event.call,
                    turn=event.turn,
                    index=part.index,
                    text=part.text,
                    notice=part.notice,
                )
                for part in event.parts
            }
        if event.last:
            spoken.ends = event.next

    # -- one sentence ----------------------------------------------------------------------------

    async def _speak(self, event: Sentence, spoken: Progress, emit: Emit) -> None:
        self._speaking += 1
        try:
            await self._keep_pace(spoken, emit)
            await self._say(event, spoken, emit)
        finally:
            self._speaking -= 1
            self._pause()

    def _pause(self) -> None:
        """When nobody is spoken to there is time for the speech smoke test."""
        if not self._speaking:
            self._smoke.begin()

    async def _say(self, event: Sentence, spoken: Progress, emit: Emit) -> None:
        """By the first voice that can; each failure leaves the words that are left to the next."""
        try:
            await self._make_way()
            text, tried = event.text, [*self._hanging, *self._loading.missing]
            while not spoken.gave_up and (rung := self._rungs.next(tried)) is not None:
                tried.append(rung)
                words: list[str] = []
                try:
                    async with aclosing(self._sound(rung, text)) as chunks:
                        await self._publish_all(event, text, chunks, words, spoken, emit)
                except EngineError as error:
                    spoken.error = str(error)
                    self._rungs.failed(rung, str(error), emit)
                    self._failed.add(rung)
                    text = rest(text, words)
                else:
                    spoken.error = ""
                    self._worked(rung, emit)
                    return
                if not text:
                    return
        except asyncio.CancelledError:
            await self._all_idle()  # the turn is not released before they are
            raise
        await self._apologise(event, spoken, emit)

    def _worked(self, rung: str, emit: Emit) -> None:
        """Told when it ends a row of failures: there is a sentence every few seconds in each call."""
        if rung in self._failed:
            self._failed.discard(rung)
            self._rungs.worked(rung, emit)

    async def _apologise(self, event: Sentence, spoken: Progress, emit: Emit) -> None:
        """Nobody can speak: once in the turn the sound that we have, then nothing more of it."""
        if spoken.gave_up:
            return
        spoken.gave_up = True
        spoken.error = (
            spoken.error or "no voice may be asked now: see `bargein breaker`, `bargein status`"
        )
        log.error("no voice", call_id=event.call, turn_id=event.turn, error=spoken.error)
        base = spoken.samples
        for chunk in self._canned:
            self._publish(event, self._apology, chunk, base, spoken, emit)

    async def _publish_all(
        self,
        event: Sentence,
        text: str,
        chunks: AsyncGenerator[Chunk, None],
        words: list[str],
        spoken: Progress,
        emit: Emit,
    ) -> None:
        base = spoken.samples
        async for chunk in chunks:
            self._publish(event, text, chunk, base, spoken, emit)
            words += [word.text for word in chunk.words]

    def _publish(
        self, event: Sentence, text: str, chunk: Chunk, base: int, spoken: Progress, emit: Emit
    ) -> None:
        rate = self._rate
        if chunk.words:
            words = tuple(Word(w.text, base + w.start, base + w.end) for w in chunk.words)
            emit(
                SpokenWords(
                    call=event.call,
                    turn=event.turn,
                    sentence=event.index,
                    text=text,
                    words=words,
                    rate=rate,
                )
            )
        if chunk.pcm:
            speech = Speech(
                call=event.call,
                turn=event.turn,
                sentence=event.index,
                first=spoken.samples,
                rate=rate,
                pcm=chunk.pcm,
                notice=event.notice,
            )
            emit(speech)
            spoken.samples = speech.end
        emit.note(synthesised_ms=round(1000 * spoken.samples / rate))

    async def _keep_pace(self, spoken: Progress, emit: Emit) -> None:
        """A fast engine waits here: what is cancelled should not have been made.

        Between sentences only: within one, a waiting consumer would hold the engine's one worker
        and so every other call.
        """
        ahead_s = spoken.samples / self._rate - self._lead_s
        await emit.clock.sleep_until(spoken.began_ns + int(ahead_s * 1e9))

    def _end(self, event: Event, spoken: Progress, emit: Emit) -> None:
        ends, spoken.ends = spoken.ends or 0, None
        emit(
            Speech(
                call=event.call,
                turn=event.turn,
                sentence=ends,
                first=spoken.samples,
                rate=self._rate,
                last=True,
                error=spoken.error,
            )
        )

    # -- voices ----------------------------------------------------------------------------------

    def _next(self) -> str | None:
        """Whom the next sentence would be spoken by."""
        return self._rungs.next([*self._hanging, *self._loading.missing])

    async def _make_way(self) -> None:
        """The speech smoke test stops; where its voice does not, another one speaks."""
        if (stuck := await self._smoke.give_way(LET_GO_S)) is not None:
            self._hangs(self._smoke.voice, stuck)

    async def _sound(self, name: str, text: str) -> AsyncGenerator[Chunk, None]:
        """One voice's chunks at our rate. Raises EngineError when it fails or hangs."""
        voice = self._voices[name]
        if name in self._loading.missing:
            raise EngineError(self._loading.missing[name])
        rate = self._rate or voice.rate
        resampler = Resampler(voice.rate, rate)
        stream = voice.stream(text)
        try:
            while (chunk := await self._within(name, stream)) is not None:
                yield _at_rate(chunk, resampler, rate)
        finally:
            if name not in self._hanging:
                await stream.aclose()

    async def _within(self, name: str, stream: AsyncGenerator[Chunk, None]) -> Chunk | None:
        """The next chunk, in time. Whoever is cancelled waits until the voice has stopped."""
        task = asyncio.ensure_future(anext(stream, None))
        try:
            done, _ = await asyncio.wait({task}, timeout=self._stall_s)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task})
            raise
        if done:
            return task.result()
        task.cancel()
        await asyncio.wait({task}, timeout=LET_GO_S)
        if not task.done():
            self._hangs(name, task)
        raise EngineError(
            f"the voice {name!r} made no sound for {self._stall_s:g} s; relieve this box, or raise "
            "tts.stall_ms"
        )

    def _hangs(self, name: str, task: asyncio.Task[Any]) -> None:
        if self._hanging.setdefault(name, task) is task:
            task.add_done_callback(lambda ended: self._let_go(name, ended))

    def _let_go(self, name: str, task: asyncio.Task[Any]) -> None:
        """It has stopped after all; with what error is of no interest any more."""
        self._hanging.pop(name, None)
        if not task.cancelled():
            task.exception()
        self._pause()

    async def _all_idle(self) -> None:
        await self._smoke.give_way()
        if self._hanging:
            await asyncio.wait(list(self._hanging.values()))

    async def _probe(self, name: str) -> None:
        """It is back when it makes sound; nobody hears this."""
        if name in self._hanging:
            raise EngineError(f"the voice {name!r} still hangs; restart tts")
        async with aclosing(self._sound(name, PROBE)) as chunks:
            async for _ in chunks:
                return


def _at_rate(chunk: Chunk, resampler: Resampler, rate: int) -> Chunk:
    """At another rate; the last 1.2 ms of a sentence stay in the filter."""
    if resampler.rate_in == rate:
        return chunk
    words = tuple(
        Spoken(w.text, w.start * rate // resampler.rate_in, w.end * rate // resampler.rate_in)
        for w in chunk.words
    )
    return Chunk(resampler.push(chunk.pcm, last=False), words)
