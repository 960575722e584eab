"""The caller's utterances go in; whether he is done, and with which words, comes out. Pure."""

from __future__ import annotations

from collections.abc import Callable

from actors.endpointing import EndOfTurn, Pause
from actors.turn_state import MS, SAMPLES_PER_MS, Rules, Utterance
from schemas import SpeechContinued, SpeechEnded


class CallerSide:
    """The utterances since the last turn; `dismissed` ones count no longer."""

    def __init__(self, rules: Rules, end_of_turn: EndOfTurn) -> None:
        self._rules, self._end_of_turn = rules, end_of_turn
        self.utterances: dict[int, Utterance] = {}

    def begin(self, onset: int, at_ns: int, over_agent: bool, counts: bool) -> Utterance:
        """Speech has begun."""
        utterance = Utterance(onset, end=onset, over_agent=over_agent, news_ns=at_ns)
        utterance.dismissed = not counts
        self.utterances[onset] = utterance
        return utterance

    def goes_on(self, event: SpeechContinued, at_ns: int) -> Utterance | None:
        """It goes on, or is quiet for the moment; None when it counts no longer."""
        if (utterance := self.utterances.get(event.onset)) is None:
            return None
        if event.voiced > utterance.voiced:
            utterance.settled_words = False
        utterance.voiced, utterance.end, utterance.news_ns = event.voiced, event.end, at_ns
        utterance.quiet_ns = at_ns - event.silent * MS // SAMPLES_PER_MS
        return utterance

    def ends(self, event: SpeechEnded, at_ns: int) -> Utterance | None:
        """It has ended: `hangover_ms` ago, to be precise."""
        if (utterance := self.utterances.get(event.onset)) is None:
            return None
        utterance.voiced, utterance.end, utterance.ended = event.voiced, event.end, True
        utterance.quiet_ns = at_ns - int(self._rules.hangover_ms * MS)
        utterance.final_by_ns = at_ns + int(self._rules.final_wait_ms * MS)
        return utterance

    @property
    def live(self) -> list[Utterance]:
        """What counts."""
        return [u for u in self.utterances.values() if not u.dismissed]

    def words(self, passes: Callable[[Utterance], bool] = lambda utterance: True) -> str:
        """All of it that passes."""
        return " ".join(u.words for u in self.live if u.words and passes(u))

    @property
    def voiced_ms(self) -> float:
        """How long he has spoken."""
        return sum(u.voiced for u in self.live) / SAMPLES_PER_MS

    def wait_ms(self, now_ns: int) -> float:
        """How long his pause must last, from its first quiet sample on."""
        silent_ms = (now_ns - self._quiet_ns) / MS
        return self._end_of_turn.wait_ms(Pause(self.words(), silent_ms, self.voiced_ms))

    @property
    def _quiet_ns(self) -> int:
        return max((u.quiet_ns for u in self.live), default=0)

    def done(self, now_ns: int) -> bool:
        """Quiet for the wait, and the words are there or will not come any more."""
        return (
            all(u.ended and (u.final is not None or u.given_up(now_ns)) for u in self.live)
            and self._answer_from_ns(now_ns) <= now_ns
        )

    def _answer_from_ns(self, now_ns: int) -> int:
        return self._quiet_ns + int(self.wait_ms(now_ns) * MS)

    def deadlines(self, now_ns: int) -> list[int]:
        """When `done` may change though nothing happens."""
        if not self.live:
            return []
        by = [u.final_by_ns for u in self.live if u.ended]
        return [self._answer_from_ns(now_ns), *by] if by else []
