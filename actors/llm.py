"""llm: the order to respond comes in; the answer goes out sentence by sentence.

The model may be at several endpoints, a ladder of them. When one fails the next goes on from where the
answer broke off; when all fail the caller hears why he waits, and all are tried once more. What tools the
model asks for are used in between; those of a draft that change something, when the turn is sure.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

import structlog

from actors.rungs import Doors, Rungs
from actors.sentences import Splitter
from actors.toolbox import Toolbox
from actors.unsaid import Unsaid
from bus.runtime import Emit, Runtime
from engines.protocols import EngineError, TryLater
from schemas import (
    CallClosed,
    Event,
    GoOn,
    LlmFinished,
    LlmStarted,
    Message,
    Respond,
    Sentence,
    ToolCall,
    TurnStarted,
)

log = structlog.get_logger()
READY_S = 0.25
TOOL_ROUNDS = 5
"""How often in one answer the model may ask for tools."""
_MARKS = re.compile(r"(</?notice>)")
"""Around what must be heard whole; a model may write them, and turns.notice is said with them."""
CUT_OFF = "Your last message was cut off. Go on exactly where it ends, and repeat nothing of it."
"""Added to the system prompt when an answer is continued."""


class Chat(Protocol):
    """Anything that continues a conversation; closing the stream stops the model."""

    async def load(self) -> None: ...

    def stream(
        self, messages: Sequence[Message], call: str = ""
    ) -> AsyncGenerator[str | ToolCall, None]: ...

    def forget(self, call: str) -> None: ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class Excuses:
    """What is said when every endpoint has failed: before they are tried once more, and at the end.

    `after_ms`: how long after the last failure that is; longer where an endpoint names a time, but not
    beyond `longest_ms`. `goodbye`: before the call is ended, if the model says nothing.
    """

    trouble: str = "I'm having trouble answering. Let me try again."
    apology: str = "I'm sorry, something went wrong. Please ask me again."
    goodbye: str = "Goodbye."
    after_ms: float = 1000
    longest_ms: float = 5000


class LlmActor:
    """Asks the model and hands on each sentence as soon as it is whole."""

    name = "llm"
    hears: tuple[type[Event], ...] = (Respond, GoOn, TurnStarted, CallClosed, *Rungs.hears)

    def __init__(
        self,
        chats: Chat | Mapping[str, Chat],
        excuses: Excuses = Excuses(),
        doors: Doors | None = None,
        tools: Toolbox | None = None,
    ) -> None:
        """`chats`: by endpoint, the preferred one first. `doors`: where the breaker is."""
        self._tools = tools or Toolbox()
        self._held: dict[str, Answer] = {}
        self._chats = chats if isinstance(chats, Mapping) else {"": chats}
        self._excuses = excuses
        self._rungs = Rungs("llm", tuple(self._chats), self._probe, doors)
        self._answered: dict[str, int] = {}
        self._runtime: Runtime | None = None

    def attach(self, runtime: Runtime) -> None:
        """There are a breaker and calls now."""
        self._runtime = runtime
        self._rungs.attach(runtime)

    async def load(self) -> None:
        """Ready when a server is: a model that loads for minutes is waited for, not crashed on.

        Restarted in the middle of a call we don't wait: the caller is owed a word.
        """
        self._rungs.begin()
        said = ""
        while (reasons := await self._not_ready()) and not self._in_calls:
            why = "; ".join(reasons)
            if self._runtime is not None:
                self._runtime.desk.detail = why
            if why != said:
                log.warning("waiting for the model", reason=why)
            said = why
            await asyncio.sleep(READY_S)

    @property
    def _in_calls(self) -> bool:
        return self._runtime is not None and bool(self._runtime.control.calls)

    async def _not_ready(self) -> list[str]:
        """Why none of them is; empty when one is."""
        reasons = []
        for chat in self._chats.values():
            try:
                await chat.load()
            except EngineError as error:
                reasons.append(str(error))
            else:
                return []
        return reasons

    async def close(self) -> None:
        await self._rungs.close()
        for chat in self._chats.values():
            await chat.close()

    def gauges(self) -> dict[str, float]:
        """Endpoints that are not asked now."""
        return {"endpoints_away": float(self._rungs.away)}

    async def react(self, event: Event, emit: Emit) -> None:
        if isinstance(event, CallClosed):
            self._answered.pop(event.call, None)
            self._held.pop(event.call, None)
            for chat in self._chats.values():
                chat.forget(event.call)
        elif isinstance(event, TurnStarted):
            await self._sure(event, emit)
        elif not isinstance(event, Respond | GoOn):
            self._rungs.take(event)
        elif event.turn > self._answered.get(event.call, 0):
            self._answered[event.call] = event.turn  # asked again for the same turn: one answer
            await self._respond(event, emit)

    async def _respond(self, event: Respond | GoOn, emit: Emit) -> None:
        excuses = (self._excuses.trouble, self._excuses.apology)
        said = event.said if isinstance(event, GoOn) else ()
        answer = Answer(event, emit, said, excuses)
        if event.say:
            answer.begin()
            answer.take(event.say)
            answer.end()
            answer.finish()
        else:
            await self._think(answer, emit)

    async def _sure(self, event: TurnStarted, emit: Emit) -> None:
        """The draft is the turn now: its tools may be used."""
        held = self._held.pop(event.call, None)
        if held is not None and held.turn == event.turn:
            held.speaks_by(emit)
            await self._think(held, emit)

    async def _think(self, answer: Answer, emit: Emit) -> None:
        """Written, tools used, written on, until the model asks for none."""
        while True:
            if answer.calls:
                if answer.draft and not all(map(self._tools.harmless, answer.calls)):
                    self._held[emit.call] = answer
                    return
                if not await self._use(answer, emit):
                    return
            if not await self._climb(answer, emit):
                answer.aside(self._excuses.apology)
                break
            if not answer.calls:
                break
            if answer.rounds >= TOOL_ROUNDS:
                answer.error = f"the model asked for tools more than {TOOL_ROUNDS} times"
                break
        if answer.hangs_up and answer.is_mute:
            answer.aside(self._excuses.goodbye)
        answer.finish()

    async def _use(self, answer: Answer, emit: Emit) -> bool:
        """Whether the turn goes on."""
        results = []
        for wanted in answer.calls:
            result = await self._tools.use(wanted, answer.turn, emit)
            if result is None:
                return False
            results.append(result)
        answer.used(results)
        return True

    async def _climb(self, answer: Answer, emit: Emit) -> bool:
        """Rung by rung; if each one asked has failed, an excuse, and once more. Whether one did it."""
        if await self._each(answer, emit):
            return True
        if self._rungs.next(()) is None:
            answer.error = answer.error or "no endpoint may be asked now: their circuits are open"
            return False
        answer.aside(self._excuses.trouble)
        longest_ms = max(self._excuses.after_ms, self._excuses.longest_ms)
        pause_ms = min(max(self._excuses.after_ms, answer.again_ms), longest_ms)
        await emit.clock.sleep_until(emit.clock.now() + int(pause_ms * 1e6))
        return await self._each(answer, emit)

    async def _each(self, answer: Answer, emit: Emit) -> bool:
        tried: list[str] = []
        while (rung := self._rungs.next(tried)) is not None:
            tried.append(rung)
            try:
                await self._write(rung, answer)
            except EngineError as error:
                answer.error = str(error)
                answer.again_ms = 1000 * error.after_s if isinstance(error, TryLater) else 0.0
                self._rungs.failed(rung, str(error), emit)
            else:
                answer.error = ""
                self._rungs.worked(rung, emit)
                return True
        return False

    async def _write(self, rung: str, answer: Answer) -> None:
        answer.begin()
        async with aclosing(self._chats[rung].stream(answer.messages, answer.call)) as items:
            async for item in items:
                if isinstance(item, ToolCall):
                    answer.calls.append(item)
                else:
                    answer.take(item)
        answer.end()

    async def _probe(self, rung: str) -> None:
        """It is back when it writes: health alone would not show one that hangs."""
        chat = self._chats[rung]
        await chat.load()
        async with aclosing(chat.stream([Message("user", "Hello.")])) as deltas:
            async for _ in deltas:
                return


class Answer:
    """One answer on its way out, whoever writes it. `said`: what a predecessor of ours has said of it."""

    def __init__(
        self,
        order: Respond | GoOn,
        emit: Emit,
        said: Sequence[str] = (),
        asides: Sequence[str] = (),
    ) -> None:
        self._order, self._emit = order, emit
        self._sentences = len(said)
        self._said = [sentence for sentence in said if sentence not in asides]
        self._tokens = 0
        self._notice = False
        self._sure = False
        self._shown: list[Message] = []
        self.calls: list[ToolCall] = []
        self.error = ""
        self.again_ms = 0.0
        self.hangs_up = False
        self.rounds = 0
        self.begin()

    @property
    def call(self) -> str:
        """Whose answer it is."""
        return self._order.call

    @property
    def turn(self) -> int:
        """Which turn's."""
        return self._order.turn

    @property
    def draft(self) -> bool:
        """It is not sure yet that the caller is done."""
        return not self._sure and isinstance(self._order, Respond) and self._order.draft

    @property
    def is_mute(self) -> bool:
        """Nothing was said."""
        return not self._sentences

    def speaks_by(self, emit: Emit) -> None:
        """The turn is sure; what remains of the answer follows from that."""
        self._emit, self._sure = emit, True

    def used(self, results: Sequence[str]) -> None:
        """The tools asked for have been used: the next endpoint is shown this and need not ask again."""
        said, self._said = " ".join(self._said), []
        self._shown.append(Message("assistant", said, tuple(self.calls)))
        for wanted, result in zip(self.calls, results, strict=True):
            self._shown.append(Message("tool", result, answers=wanted.id))
        self.hangs_up |= any(wanted.name == "hang_up" for wanted in self.calls)
        self.calls = []
        self.rounds += 1

    @property
    def messages(self) -> list[Message]:
        """What the next endpoint is shown: what was said already is its own last message."""
        messages = [*self._order.messages, *self._shown]
        if not self._said:
            return messages
        if messages and messages[0].role == "system":
            messages[0] = Message("system", f"{messages[0].content} {CUT_OFF}")
        return [*messages, Message("assistant", " ".join(self._said))]

    def begin(self) -> None:
        """Somebody begins to write, or begins anew: an unfinished sentence is his to say."""
        self._splitter = Splitter()
        self._unsaid = Unsaid(self._said)
        self._notice = False
        self.calls = []

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
            self._stretch(sentence)

    def end(self) -> None:
        """He has written all of it."""
        for sentence in self._splitter.flush():
            self._stretch(sentence)

    def aside(self, text: str) -> None:
        """Words of our own in between, which no model has written."""
        if text:
            self._say(text)

    def finish(self) -> None:
        """There will be no more."""
        self._emit(
            LlmFinished(
                call=self._order.call,
                turn=self._order.turn,
                sentences=self._sentences,
                tokens=self._tokens,
                error=self.error,
            )
        )

    def _stretch(self, stretch: str) -> None:
        """A stretch may hold the beginning or end of a notice: each part is a sentence of its own."""
        for part in _MARKS.split(stretch):
            if part in ("<notice>", "</notice>"):
                self._notice = part == "<notice>"
            elif text := self._unsaid.of(part.strip()):
                self._said.append(text)
                self._say(text, self._notice)

    def _say(self, text: str, notice: bool = False) -> None:
        order = self._order
        self._emit(
            Sentence(
                call=order.call,
                turn=order.turn,
                index=self._sentences,
                text=text,
                notice=notice,
            )
        )
        self._sentences += 1
