"""tts: sentences come in; their sound and the places of their words go out."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass

import structlog

from bus.runtime import Emit
from engines.protocols import Chunk, EngineError, Voice
from schemas import (
    CallClosed,
    EngineFailed,
    Event,
    Interject,
    LlmFinished,
    Sentence,
    Speech,
    SpokenWords,
    Word,
)

log = structlog.get_logger()


@dataclass
class Spoken:
    """How far the sound of a turn has got: samples made since `began_ns`."""

    turn: int
    began_ns: int
    samples: int = 0
    error: str = ""


class TtsActor:
    """Speaks each sentence as it comes; the next one no earlier than `lead_s` before it is due."""

    name = "tts"
    hears = (Sentence, Interject, LlmFinished, CallClosed)

    def __init__(self, voice: Voice, lead_s: float = 2.0) -> None:
        self._voice, self._lead_s = voice, lead_s
        self._spoken: dict[str, Spoken] = {}

    async def load(self) -> None:
        await self._voice.load()

    async def close(self) -> None:
        await self._voice.close()

    async def react(self, event: Event, emit: Emit) -> None:
        if isinstance(event, Interject):
            event = Sentence(call=event.call, turn=event.turn, index=-1, text=event.text)
        if isinstance(event, Sentence):
            await self._speak(event, self._state(event, emit), emit)
        elif isinstance(event, LlmFinished):
            self._end(event, self._state(event, emit), emit)
        elif isinstance(event, CallClosed):
            self._spoken.pop(event.call, None)

    def _state(self, event: Event, emit: Emit) -> Spoken:
        spoken = self._spoken.get(event.call)
        if spoken is None or spoken.turn != event.turn:
            spoken = self._spoken[event.call] = Spoken(event.turn, emit.at_ns)
        return spoken

    async def _speak(self, event: Sentence, spoken: Spoken, emit: Emit) -> None:
        await self._keep_pace(spoken, emit)
        base = spoken.samples
        try:
            async with aclosing(self._voice.stream(event.text)) as chunks:
                async for chunk in chunks:
                    self._publish(event, chunk, base, spoken, emit)
        except EngineError as error:
            log.error("no voice", call_id=event.call, turn_id=event.turn, error=str(error))
            spoken.error = str(error)
            emit(EngineFailed(call=event.call, service="tts", error=str(error)))

    def _publish(
        self, event: Sentence, chunk: Chunk, base: int, spoken: Spoken, emit: Emit
    ) -> None:
        rate = self._voice.rate
        if chunk.words:
            words = tuple(Word(w.text, base + w.start, base + w.end) for w in chunk.words)
            emit(
                SpokenWords(
                    call=event.call,
                    turn=event.turn,
                    sentence=event.index,
                    text=event.text,
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

    async def _keep_pace(self, spoken: Spoken, emit: Emit) -> None:
        """A fast engine waits here: what is cancelled should not have been made.

        Between sentences only: within one, a waiting consumer would hold the engine's one worker
        and so every other call.
        """
        ahead_s = spoken.samples / self._voice.rate - self._lead_s
        await emit.clock.sleep_until(spoken.began_ns + int(ahead_s * 1e9))

    def _end(self, event: LlmFinished, spoken: Spoken, emit: Emit) -> None:
        emit(
            Speech(
                call=event.call,
                turn=event.turn,
                sentence=event.sentences,
                first=spoken.samples,
                rate=self._voice.rate,
                last=True,
                error=spoken.error,
            )
        )
