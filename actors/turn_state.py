"""What a conversation is made of: its rules in numbers, its effects, turns and utterances. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from actors.endpointing import ByWords, EndOfTurn, Fixed, Waits
from actors.heard import Voice
from schemas import Event, Final, Message, Respond

MS = 1_000_000
SAMPLES_PER_MS = 16


@dataclass(frozen=True)
class Rules:
    """Waits in ms; see config/fleet.toml, [turns]."""

    endpoints: Waits = field(default_factory=Waits)
    by_words: bool = True
    hangover_ms: float = 250
    final_wait_ms: float = 2000
    max_turn_ms: float = 60_000
    answer_wait_ms: float = 10_000
    system_prompt: str = ""
    history: int = 40

    def end_of_turn(self) -> EndOfTurn:
        """By the words, or always the same wait."""
        return ByWords(self.endpoints) if self.by_words else Fixed(self.endpoints.open)


@dataclass(frozen=True)
class Say:
    """An effect: publish `event`."""

    event: Event


@dataclass(frozen=True)
class Stop:
    """An effect: broadcast CANCEL for `turn`."""

    turn: int
    reason: str


Effect = Say | Stop
Outcome = Literal["completed", "interrupted", "failed", "superseded"]


@dataclass
class AgentTurn:
    """An answer from the order to its end."""

    number: int
    asked: str
    start: int
    end: int
    speaking: bool = False
    finished: bool = False
    cancelled: Outcome | None = None
    detail: str = ""
    voice: Voice = field(default_factory=Voice)
    order: Respond | None = None


@dataclass
class Utterance:
    """One stretch of caller speech; named by its onset sample."""

    onset: int
    end: int = 0
    voiced: int = 0
    settled: str = ""
    partial: str = ""
    final: str | None = None
    ended: bool = False
    over_agent: bool = False
    dismissed: bool = False
    restored: bool = False
    settled_words: bool = False
    news_ns: int = 0
    quiet_ns: int = 0
    final_by_ns: int = 0

    @property
    def words(self) -> str:
        return f"{self.settled} {self.partial}".strip() if self.final is None else self.final

    def take(self, event: Final) -> None:
        """A long utterance comes in several finals."""
        self.settled = f"{self.settled} {event.text}".strip()
        self.partial = ""
        if not event.more:
            self.final = self.settled

    def given_up(self, at_ns: int) -> bool:
        """The final words are too late to be waited for."""
        return self.final_by_ns <= at_ns


@dataclass(frozen=True)
class Memory:
    """What must outlive the process: the last turn's number, the question in work, the history."""

    last_turn: int
    asked: str = ""
    answering: bool = False
    history: tuple[Message, ...] = ()
