"""A conversation by hand: what happens at which ms goes in, what the rules order comes out, in words."""

from __future__ import annotations

from collections.abc import Iterable

from actors.duplex import Duplex, FullDuplex
from actors.evidence import Judge, Limits
from actors.turn_rules import Conversation
from actors.turn_state import MS, Effect, HangUp, Rules, Stop, Tripped
from schemas import (
    Event,
    Final,
    GoOn,
    Interject,
    LinePlayed,
    Partial,
    PlaybackFinished,
    PlaybackStarted,
    Respond,
    Restore,
    Resume,
    Sentence,
    SpeechContinued,
    SpeechEnded,
    SpeechPaused,
    SpeechStarted,
    SpokenWords,
    TurnEnded,
    TurnStarted,
    TurnTick,
    Word,
)

CALL = "C1"
RULES = Rules(system_prompt="be brief", endpointing="fixed")
COMMIT_MS = 450
LIMITS = Limits(
    hold_ms=COMMIT_MS,
    word_ms=200,
    content_ms=200,
    commit_ms=COMMIT_MS,
    voice_ms=COMMIT_MS,
    verdict_ms=0,
)
"""Quick to decide: these scenes are about what follows."""
FULL = FullDuplex(Judge(LIMITS))
Step = tuple[int, Event | list[Event]]
Steps = list[Step]


def on(at_ms: int) -> Event:
    """Speech begins; an utterance is named by this ms from here on."""
    return SpeechStarted(call=CALL, onset=at_ms * 16)


def goes(onset_ms: int, voiced_ms: int) -> Event:
    """It goes on."""
    end = (onset_ms + voiced_ms) * 16
    return SpeechContinued(call=CALL, onset=onset_ms * 16, end=end, voiced=voiced_ms * 16, silent=0)


def lull(onset_ms: int, voiced_ms: int, silent_ms: int = 100) -> Event:
    """It has been quiet for a moment."""
    voiced, silent = voiced_ms * 16, silent_ms * 16
    end = onset_ms * 16 + voiced + silent
    return SpeechContinued(call=CALL, onset=onset_ms * 16, end=end, voiced=voiced, silent=silent)


def sounds_done(onset_ms: int, voiced_ms: int, nats: float) -> Event:
    """An engine has listened to what was said before the pause."""
    voiced = voiced_ms * 16
    return SpeechPaused(
        call=CALL, onset=onset_ms * 16, end=onset_ms * 16 + voiced, voiced=voiced, done=nats
    )


def ends(onset_ms: int, voiced_ms: int) -> Event:
    """It has ended."""
    end = (onset_ms + voiced_ms) * 16
    return SpeechEnded(call=CALL, onset=onset_ms * 16, end=end, voiced=voiced_ms * 16)


def part(onset_ms: int, text: str, settled: bool = False) -> Event:
    """Its words so far."""
    return Partial(call=CALL, utterance=onset_ms * 16, text=text, start=0, end=0, settled=settled)


def fin(onset_ms: int, text: str, more: bool = False) -> Event:
    """Its words for good."""
    return Final(call=CALL, utterance=onset_ms * 16, text=text, start=0, end=0, more=more)


def says(turn: int, text: str) -> list[Event]:
    """The agent's sentence, each word 100 ms long."""
    words = tuple(
        Word(word, 1600 * number, 1600 * (number + 1)) for number, word in enumerate(text.split())
    )
    return [
        Sentence(call=CALL, turn=turn, index=0, text=text),
        SpokenWords(call=CALL, turn=turn, sentence=0, text=text, words=words, rate=16_000),
        PlaybackStarted(call=CALL, turn=turn),
    ]


def played(turn: int, ms: int, ended: bool = False) -> Event:
    """The line has played that much of it."""
    return LinePlayed(call=CALL, turn=turn, samples=ms * 16, rate=16_000, ended=ended)


def finished(turn: int) -> Event:
    """All of it has been paced out."""
    return PlaybackFinished(call=CALL, turn=turn, samples=16_000, rate=16_000)


def told(effect: Effect) -> str:
    """An effect in words."""
    match effect:
        case Stop(turn=number):
            return f"stop {number}"
        case Tripped(watchdog=name):
            return f"tripped {name}"
        case HangUp():
            return "hang up"
    match effect.event:
        case TurnStarted(turn=turn, text=text):
            return f"turn {turn}: {text}"
        case Respond(turn=turn, messages=messages, say=say, draft=draft):
            shown = " | ".join(message.content for message in messages[1:])
            return f"{'draft' if draft else 'respond'} {turn}: {say or shown}"
        case GoOn(turn=turn, said=said):
            return f"go on {turn} after: {' '.join(said)}"
        case Resume(turn=turn, parts=parts, first=first, rate=rate, last=last):
            left = " ".join(part.text for part in parts)
            return f"resume {turn} at {1000 * first // rate} ms: {left}{' (last)' if last else ''}"
        case Interject(turn=turn, text=text):
            return f"interject {turn}: {text}"
        case TurnEnded(turn=turn, outcome=outcome, heard=heard):
            return f"{outcome} {turn}: {heard}"
        case Restore(turn=turn):
            return f"restore {turn}"
        case other:
            return type(other).__name__


class Talk:
    """A conversation with its alarm clock: deadlines that pass are told to it, as in the fleet."""

    def __init__(self, duplex: Duplex = FULL, rules: Rules = RULES, turn_base: int = 0) -> None:
        self.rules = Conversation(CALL, turn_base, duplex, rules)
        self.now_ns = 0
        self.effects: list[Effect] = []

    def until(self, at_ns: int) -> None:
        """Let time pass."""
        while (deadline := self.rules.deadline_ns) is not None and deadline <= at_ns:
            self.now_ns = max(self.now_ns, deadline)
            self.effects += self.rules.step(TurnTick(call=CALL), self.now_ns)
        self.now_ns = max(self.now_ns, at_ns)

    def tell(self, at_ms: int, *events: Event) -> None:
        """What happens at `at_ms`."""
        self.until(at_ms * MS)
        for event in events:
            self.effects += self.rules.step(event, self.now_ns)

    def play(self, steps: Iterable[Step]) -> None:
        """What happens, in the order of time."""
        for at_ms, what in sorted(steps, key=lambda step: step[0]):
            self.tell(at_ms, *(what if isinstance(what, list) else [what]))

    @property
    def told(self) -> list[str]:
        """All that was ordered, in words."""
        return [told(effect) for effect in self.effects]


def play(
    steps: Iterable[Step],
    until_ms: int = 0,
    duplex: Duplex = FULL,
    rules: Rules = RULES,
) -> list[str]:
    """What the rules order on these steps, in words."""
    talk = Talk(duplex, rules)
    talk.play(steps)
    talk.until(until_ms * MS)
    return talk.told


def over(onset_ms: int, voiced_ms: int, text: str) -> Steps:
    """Speech from `onset_ms` on, told as it goes on, ended 250 ms after its last sound."""
    told_at = range(onset_ms + 100, onset_ms + voiced_ms + 1, 50)
    steps: Steps = [(onset_ms, on(onset_ms))]
    steps += [(at, goes(onset_ms, at - onset_ms)) for at in told_at]
    end = onset_ms + voiced_ms + 250
    return [*steps, (end, ends(onset_ms, voiced_ms)), (end + 50, fin(onset_ms, text))]


QUESTION: Steps = [(0, on(0)), (500, ends(0, 400)), (600, fin(0, "how late is it"))]
"""Answered at 850: 600 ms of quiet, 250 of which were over when the end was noticed."""
ASKED = ["turn 1: how late is it", "respond 1: how late is it"]
SPEAKING: Steps = [*QUESTION, (900, says(1, "it is ten past two")), (1100, played(1, 150))]
