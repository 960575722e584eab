"""What a conversation is made of: its rules in numbers, its effects, turns and utterances. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import takewhile
from typing import Literal

from actors.endpointing import BySound, ByWords, EndOfTurn, Endpointing, Fixed, Waits
from actors.evidence import is_backchannel
from actors.heard import Voice
from schemas import Event, Final, Message, Partial, Respond, SecondLook, ToolCall

MS = 1_000_000
SAMPLES_PER_MS = 16


@dataclass(frozen=True)
class Patience:
    """When a silence is broken, ms; 0: never. See config/fleet.toml, [watch]."""

    unheard_ms: float = 0
    no_words_ms: float = 0
    voice_lost_ms: float = 0
    token_wait_ms: float = 0
    voice_wait_ms: float = 0
    idle_ms: float = 0
    idle_prompts: int = 1
    hang_up: bool = True


@dataclass(frozen=True)
class Phrases:
    """What the agent says without asking the model; "" for nothing. See config/fleet.toml, [phrases]."""

    sorry: str = ""
    moment: str = ""
    apology: str = ""
    still_there: str = ""
    goodbye: str = ""


@dataclass(frozen=True)
class Rules:
    """Waits in ms; see config/fleet.toml, [turns]. `drafts`: answers begun before a turn is sure.

    `resumptions`: how often one answer is taken up again after a restart of llm or tts.
    """

    endpoints: Waits = field(default_factory=Waits)
    endpointing: Endpointing = "words"
    drafts: int = 0
    hangover_ms: float = 250
    final_wait_ms: float = 2000
    max_turn_ms: float = 60_000
    answer_wait_ms: float = 10_000
    system_prompt: str = ""
    history: int = 40
    resumptions: int = 2
    patience: Patience = field(default_factory=Patience)
    phrases: Phrases = field(default_factory=Phrases)

    def end_of_turn(self) -> EndOfTurn:
        """By the words, by the sound besides, or always the same wait."""
        if self.endpointing == "fixed":
            return Fixed(self.endpoints.open)
        words = ByWords(self.endpoints)
        return words if self.endpointing == "words" else BySound(self.endpoints, words)


Watchdog = Literal["no_words", "no_end", "no_tokens", "no_audio", "no_answer"]


@dataclass(frozen=True)
class Say:
    """An effect: publish `event`."""

    event: Event


@dataclass(frozen=True)
class Stop:
    """An effect: broadcast CANCEL for `turn`."""

    turn: int
    reason: str


@dataclass(frozen=True)
class Tripped:
    """An effect: log and count that a watchdog has ended something stuck; `turn` 0 for the caller's."""

    watchdog: Watchdog
    turn: int
    detail: str


@dataclass(frozen=True)
class HangUp:
    """An effect: close the call."""

    reason: str


Effect = Say | Stop | Tripped | HangUp
Outcome = Literal["completed", "interrupted", "failed", "superseded"]


class Outbox:
    """The effects of one step, and the clock it is decided by."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.effects: list[Effect] = []

    def begin(self, at_ns: int) -> list[Effect]:
        """A step; its effects will be in this list."""
        self.now_ns, self.effects = at_ns, []
        return self.effects

    def publish(self, event: Event) -> None:
        self.effects.append(Say(event))

    def add(self, effect: Effect) -> None:
        self.effects.append(effect)


class Deadlines:
    """Instants by name, ns."""

    def __init__(self, out: Outbox) -> None:
        self._out = out
        self._at: dict[str, int] = {}

    def expect(self, name: str, within_ms: float) -> None:
        """Count anew from now."""
        self._at[name] = self._out.now_ns + int(within_ms * MS)

    def expect_once(self, name: str, within_ms: float) -> None:
        """Count from now unless it is counting."""
        self._at.setdefault(name, self._out.now_ns + int(within_ms * MS))

    def drop(self, *names: str) -> None:
        """They need not be counting."""
        for name in names:
            self._at.pop(name, None)

    def due(self, name: str) -> bool:
        """Whether it has passed; true once."""
        passed = self._at.get(name, self._out.now_ns + 1) <= self._out.now_ns
        if passed:
            del self._at[name]
        return passed

    @property
    def instants(self) -> tuple[int, ...]:
        return tuple(self._at.values())


@dataclass
class AgentTurn:
    """An answer from the order to its end.

    `carries`: its question, if unanswered, joins the next. `cut_in`: the caller was not done asking.
    `written`: llm has given all of it. `resumed`: how often it was taken up again after a restart.
    `tools`: those begun, by id, and what the model is told of them. `hangs_up`: the call ends with it.
    """

    number: int
    asked: str
    start: int
    end: int
    order: Respond
    speaking: bool = False
    finished: bool = False
    written: bool = False
    resumed: int = 0
    cancelled: Outcome | None = None
    carries: bool = False
    cut_in: bool = False
    detail: str = ""
    hangs_up: bool = False
    tools: dict[str, tuple[ToolCall, str]] = field(default_factory=dict)
    voice: Voice = field(default_factory=Voice)

    @property
    def exchange(self) -> tuple[Message, ...]:
        """Its tools and their results, as the model is shown them."""
        return tuple(
            message
            for wanted, result in self.tools.values()
            for message in (
                Message("assistant", "", (wanted,)),
                Message("tool", result, answers=wanted.id),
            )
        )


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
    held: bool = False
    settled_words: bool = False
    stable: str = ""
    second: SecondLook | None = None
    second_due: bool = False
    level_dbfs: float = -120.0
    floor: float = 0.0
    lasting: float = 0.0
    lasting_last: float = 0.0
    """The last answer about its sound while it lasts; `lasting` is the worse of the last two."""
    done: float = 0.0
    """Log-odds by its sound that this pause ends the turn; 0.0: nobody has listened."""
    murmur: bool = False
    masked: bool = False
    """Another voice, much louder, has begun above it."""
    interrupts: bool = False
    """An answer was cut for it."""
    begun_ns: int = 0
    news_ns: int = 0
    ended_ns: int = 0
    quiet_ns: int = 0
    final_by_ns: int = 0

    @property
    def words(self) -> str:
        return f"{self.settled} {self.partial}".strip() if self.final is None else self.final

    @property
    def share(self) -> float:
        """How much of its length was voice; all of it where that is not known."""
        length = self.end - self.onset
        return self.voiced / length if length > 0 else 1.0

    @property
    def known(self) -> bool:
        """The words will be these if he says no more."""
        return self.final is not None or self.settled_words

    @property
    def stable_words(self) -> str:
        """Words that were told twice; all of them once they are known."""
        return self.words if self.known else f"{self.settled} {self.stable}".strip()

    def guess(self, event: Partial) -> None:
        """The words so far; what the last two guesses have in common is stable."""
        pairs = zip(self.partial.split(), event.text.split(), strict=False)
        self.stable = " ".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        self.partial, self.settled_words = event.text, event.settled

    def take(self, event: Final) -> None:
        """A long utterance comes in several finals."""
        self.settled = f"{self.settled} {event.text}".strip()
        self.partial = self.stable = ""
        if not event.more:
            self.final = self.settled
            self.second_due = event.second

    def hear_lasting(self, nats: float) -> None:
        """The worse of the last two answers counts: babble sounds like one voice at times."""
        self.lasting = min(nats, self.lasting_last or nats)
        self.lasting_last = nats

    def look(self, event: SecondLook) -> None:
        """What a second look made of it."""
        self.second, self.second_due = event, False

    def correct(self) -> None:
        """It was meant: if the words were none, the second look's take their place."""
        if self.second is not None and self.final is not None and is_backchannel(self.final):
            self.final = self.second.text

    @property
    def undecided(self) -> bool:
        """Words may still come that show whether it was meant."""
        return self.final is None or self.second_due

    @property
    def awaits_verdict(self) -> bool:
        """Over, and time alone may decide it: no words, or nobody above it after all."""
        return self.ended and not self.restored and (self.undecided or self.masked)

    def let_pass(self) -> None:
        """Not meant, as far as is known: only words that are still to come may say otherwise."""
        self.restored = True
        self.dismissed = not self.undecided

    def given_up(self, at_ns: int) -> bool:
        """The final words are too late to be waited for."""
        return self.final_by_ns <= at_ns


@dataclass(frozen=True)
class Memory:
    """What must outlive the process: the last turn's number, the question in work, the history.

    `drafting`: the last turn was a draft, which nobody has heard of.
    """

    last_turn: int
    asked: str = ""
    answering: bool = False
    history: tuple[Message, ...] = ()
    drafting: bool = False
