"""llm: the order to respond comes in; the answer goes out sentence by sentence."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Protocol

import structlog

from actors.sentences import Splitter
from bus.runtime import Emit
from engines.protocols import EngineError
from schemas import (
    CallClosed,
    EngineFailed,
    EngineWorked,
    Event,
    LlmFinished,
    LlmStarted,
    Respond,
    Sentence,
)

log = structlog.get_logger()
RETRY_S = 0.25
_MARKS = re.compile(r"(</?notice>)")
"""Around what must be heard whole; a model may write them, and turns.notice is said with them."""
APOLOGY = "I'm sorry, I can't think of an answer right now. Please ask me again in a moment."


class Chat(Protocol):
    """Anything that continues a conversation; closing the stream stops the model."""

    async def load(self) -> None: ...

    def stream(self, messages: Sequence[tuple[str, str]]) -> AsyncGenerator[str, None]: ...

    async def close(self) -> None: ...


class LlmActor:
    """Asks the model and hands on each sentence as soon as it is whole."""

    name = "llm"
    hears = (Respond, CallClosed)

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._answered: dict[str, int] = {}

    async def load(self) -> None:
        """Ready when the server is: a model that loads for minutes is waited for, not crashed on."""
        while (reason := await self._not_ready()) is not None:
            log.warning("waiting for the model", reason=reason)
            await asyncio.sleep(RETRY_S)

    async def _not_ready(self) -> str | None:
        try:
            await self._chat.load()
        except EngineError as error:
            return str(error)
        return None

    async def close(self) -> None:
        await self._chat.close()

    async def react(self, event: Event, emit: Emit) -> None:
        if isinstance(event, CallClosed):
            self._answered.pop(event.call, None)
        elif isinstance(event, Respond) and event.turn > self._answered.get(event.call, 0):
            self._answered[event.call] = event.turn  # asked again for the same turn: one answer
            await self._respond(event, emit)

    async def _respond(self, event: Respond, emit: Emit) -> None:
        answer = Answer(event, emit)
        try:
            async with aclosing(self._text(event)) as deltas:
                async for delta in deltas:
                    answer.take(delta)
            if not event.say:
                emit(EngineWorked(call=event.call, service="llm"))
        except EngineError as error:
            log.error("no answer", call_id=event.call, turn_id=event.turn, error=str(error))
            emit(EngineFailed(call=event.call, service="llm", error=str(error)))
            answer.apologise(str(error))
        answer.finish()

    async def _text(self, event: Respond) -> AsyncGenerator[str, None]:
        if event.say:
            yield event.say
            return
        messages = [(message.role, message.content) for message in event.messages]
        async with aclosing(self._chat.stream(messages)) as deltas:
            async for delta in deltas:
                yield delta


class Answer:
    """One answer on its way out."""

    def __init__(self, order: Respond, emit: Emit) -> None:
        self._order, self._emit = order, emit
        self._splitter = Splitter()
        self._tokens = self._sentences = 0
        self._error = ""
        self._notice = False

    def take(self, delta: str) -> None:
        """One token's text."""
        self._tokens += 1
        self._emit.note(tokens_generated=self._tokens)
        if self._tokens == 1:
            waited_ms = (self._emit.clock.now() - self._emit.at_ns) / 1e6
            self._emit(
                LlmStarted(call=self._order.call, turn=self._order.turn, first_token_ms=waited_ms)
            )
        for sentence in self._splitter.push(delta):
            self._say(sentence)

    def apologise(self, error: str) -> None:
        """The caller never hears silence."""
        self._error = error
        if not self._sentences:
            self._say(APOLOGY)

    def finish(self) -> None:
        """What is left, and the end."""
        for sentence in self._splitter.flush():
            self._say(sentence)
        self._emit(
            LlmFinished(
                call=self._order.call,
                turn=self._order.turn,
                sentences=self._sentences,
                tokens=self._tokens,
                error=self._error,
            )
        )

    def _say(self, stretch: str) -> None:
        """A stretch may hold the beginning or end of a notice: each part is a sentence of its own."""
        order = self._order
        for part in _MARKS.split(stretch):
            if part in ("<notice>", "</notice>"):
                self._notice = part == "<notice>"
            elif text := part.strip():
                sentence = Sentence(
                    call=order.call,
                    turn=order.turn,
                    index=self._sentences,
                    text=text,
                    notice=self._notice,
                )
                self._emit(sentence)
                self._sentences += 1
