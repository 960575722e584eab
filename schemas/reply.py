"""The agent's answer: asked for, thought, spoken (positions in samples of the turn's own sound)."""

from __future__ import annotations

from typing import Literal

import msgspec

from schemas.event import Audio, Count, Event, Position, Rate, Report
from schemas.transcript import Word


class ToolCall(msgspec.Struct, frozen=True):
    """The model wants a tool used; `arguments` is the JSON text it wrote."""

    id: str
    name: str
    arguments: str = "{}"


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry of the conversation, as /v1/chat/completions has it.

    `calls`: the tools this message asks for. `answers`: of a tool's result, the id of its call.
    """

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    calls: tuple[ToolCall, ...] = ()
    answers: str = ""


class Respond(Event, frozen=True, tag="turn.respond"):
    """turn_manager orders an answer to the conversation so far.

    `say`, when not empty, is the answer itself: spoken word for word, no model asked. `draft`: it
    is not sure yet that the caller is done; the turn is started, or cancelled unheard.
    """

    messages: tuple[Message, ...]
    say: str = ""
    draft: bool = False


class GoOn(Event, frozen=True, tag="turn.go_on"):
    """turn_manager orders the rest of an answer from an llm that was restarted in the middle of it.

    `messages`, `say`: as the answer was ordered. `said`: its sentences so far, from index 0 on.
    """

    messages: tuple[Message, ...]
    said: tuple[str, ...]
    say: str = ""


class Part(msgspec.Struct, frozen=True):
    """A sentence that was not spoken, or what is left of it; `notice` as in Sentence."""

    index: int
    text: str
    notice: bool = False


class Resume(Event, frozen=True, tag="turn.resume"):
    """turn_manager orders what was not spoken yet from a tts that was restarted in mid-answer.

    The sound goes on at sample `first` (at `rate` Hz) of the turn, of which `played_ms` were played.
    `next`: the index of the sentence llm will say next; `last`: it will say none.
    """

    parts: tuple[Part, ...] = ()
    next: int = 0
    last: bool = False
    first: Position = 0
    rate: Rate = 16_000
    played_ms: Count = 0


class Interject(Event, frozen=True, tag="turn.interject"):
    """turn_manager has `text` spoken in the turn at once: the model keeps the caller waiting."""

    text: str


class LlmStarted(Event, frozen=True, tag="llm.started"):
    """The model's first token has arrived, `first_token_ms` after it was asked."""

    first_token_ms: float


class Sentence(Event, frozen=True, tag="llm.sentence"):
    """A speakable stretch of the answer; `index` counts from 0 within the turn.

    `notice`: it must be heard whole, the caller's words over it wait.
    """

    index: int
    text: str
    notice: bool = False


class LlmFinished(Event, frozen=True, tag="llm.finished"):
    """The answer is complete: `sentences` were emitted from `tokens` tokens.

    `error` says in words why an answer is missing or short; empty when all is well.
    """

    sentences: int
    tokens: int
    error: str = ""


class ToolStarted(Event, frozen=True, tag="llm.tool_started"):
    """llm is about to use a tool; it does so only if this has left, that is before any CANCEL."""

    id: str
    name: str
    arguments: str = "{}"


class ToolEnded(Report, frozen=True, tag="llm.tool_ended"):
    """A tool that was begun has ended, `took_ms` later: what the model is shown of it.

    `interrupted`: its turn was cancelled meanwhile; it may have had its effect or not.
    """

    id: str
    name: str
    outcome: Literal["done", "failed", "interrupted"]
    result: str = ""
    took_ms: float = 0.0


class HangUpAsked(Event, frozen=True, tag="llm.hang_up"):
    """The model wants the call ended once the turn has been spoken; turn_manager does it."""

    reason: str = ""


class TransferAsked(Event, frozen=True, tag="llm.transfer"):
    """The model wants the caller put through to `to`; for whoever holds the line."""

    to: str


class SpokenWords(Event, frozen=True, tag="tts.words"):
    """Where the words of a sentence lie in the turn's sound: samples at `rate` Hz from the turn's first.

    `exact` is False when positions were interpolated, not given by the engine.
    """

    sentence: int
    text: str
    words: tuple[Word, ...]
    rate: Rate
    exact: bool = True


class Speech(Audio, frozen=True, tag="tts.speech"):
    """Synthesised sound of a turn, numbered from the turn's first sample. Media lane.

    `last` marks the end of the turn's sound; its pcm may be empty. `error` tells why there is none.
    `notice`: it is not lowered while the caller speaks.
    """

    sentence: int = 0
    last: bool = False
    error: str = ""
    notice: bool = False


class AgentPcm(Audio, frozen=True, tag="agent.pcm"):
    """One paced frame of the agent's voice for the line, at the line's rate. Media lane."""

    ducked: bool = False
    last: bool = False


class PlaybackStarted(Event, frozen=True, tag="playback.started"):
    """The first frame of the turn has left for the line."""


class PlaybackFinished(Event, frozen=True, tag="playback.finished"):
    """The turn's last frame has been paced out: `samples` at `rate` Hz in all, `starved_ms` of gaps."""

    samples: int
    rate: Rate
    starved_ms: float = 0.0


class Ducked(Event, frozen=True, tag="playback.ducked"):
    """The voice was attenuated from sample `at` (of the turn, at the line's rate) on."""

    at: int
    gain_db: float


class Held(Event, frozen=True, tag="playback.held"):
    """The voice has paused at sample `at` of the turn (the line's rate) and keeps its place."""

    at: int


class Restored(Event, frozen=True, tag="playback.restored"):
    """The voice is back at full level from sample `at` on."""

    at: int
