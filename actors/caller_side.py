"""The caller's utterances go in; whether he is done, and with which words, comes out. Pure."""

from __future__ import annotations

from collections.abc import Callable

from actors.endpointing import EndOfTurn, Pause
from actors.turn_state import MS, SAMPLES_PER_MS, Rules, Utterance, Watchdog
from schemas import SpeechContinued, SpeechEnded, SpeechPaused


class CallerSide:
    """The utterances since the last turn; `dismissed` ones count no longer."""

    def __init__(self, rules: Rules, end_of_turn: EndOfTurn) -> None:
        self._rules, self._end_of_turn = rules, end_of_turn
        self.utterances: dict[int, Utterance] = {}
        self.last_sample = 0
        self.usual_dbfs: float | None = None
        """His loudest window when he asks something, each time the mean with what it was; None at first."""

    def begin(self, onset: int, at_ns: int, over_agent: bool, counts: bool) -> Utterance:
        """Speech has begun."""
        utterance = Utterance(onset, onset, over_agent=over_agent, dismissed=not counts)
        utterance.begun_ns = utterance.news_ns = utterance.quiet_ns = at_ns
        self.utterances[onset] = utterance
        self.last_sample = max(self.last_sample, onset)
        return utterance

    def goes_on(self, event: SpeechContinued, at_ns: int) -> Utterance | None:
        """It goes on, or is quiet for the moment; None when nothing is known of it."""
        self.last_sample = max(self.last_sample, event.end)
        if (utterance := self.utterances.get(event.onset)) is None:
            return None
        if event.voiced > utterance.voiced:
            utterance.settled_words, utterance.done = False, 0.0
        utterance.voiced, utterance.end, utterance.news_ns = event.voiced, event.end, at_ns
        utterance.level_dbfs = max(utterance.level_dbfs, event.level_dbfs)
        if event.floor:
            utterance.hear_lasting(event.floor)
        utterance.quiet_ns = at_ns - event.silent * MS // SAMPLES_PER_MS
        return utterance

    def pauses(self, event: SpeechPaused) -> None:
        """What an engine makes of the pause; of one that is over it matters no more."""
        utterance = self.utterances.get(event.onset)
        if utterance is not None and utterance.voiced == event.voiced:
            utterance.done = event.done

    def ends(self, event: SpeechEnded, at_ns: int) -> Utterance | None:
        """It has ended: `hangover_ms` ago, to be precise."""
        self.last_sample = max(self.last_sample, event.end)
        if (utterance := self.utterances.get(event.onset)) is None:
            return None
        utterance.voiced, utterance.end, utterance.floor = event.voiced, event.end, event.floor
        utterance.murmur, utterance.masked = event.murmur, event.masked
        self._end(utterance, at_ns)
        utterance.quiet_ns = at_ns - int(self._rules.hangover_ms * MS)
        return utterance

    def _end(self, utterance: Utterance, at_ns: int) -> None:
        utterance.ended, utterance.ended_ns = True, at_ns
        utterance.final_by_ns = at_ns + int(self._rules.final_wait_ms * MS)

    def learn_loudness(self, dbfs: float) -> None:
        """The loudest window of a question. One may be soft; whoever has moved away is known after two."""
        self.usual_dbfs = dbfs if self.usual_dbfs is None else (self.usual_dbfs + dbfs) / 2

    def against_usual_db(self, utterance: Utterance) -> float:
        """How loud it is against what he asked before; 0 where that is not known."""
        return 0.0 if self.usual_dbfs is None else utterance.level_dbfs - self.usual_dbfs

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

    # -- the end of his turn ---------------------------------------------------------------------

    def wait_ms(self, now_ns: int) -> float:
        """How long his pause must last, from its first quiet sample on."""
        silent_ms = (now_ns - self._quiet_ns) / MS
        done = max(self.live, key=lambda u: u.onset).done if self.live else 0.0
        return self._end_of_turn.wait_ms(Pause(self.words(), silent_ms, self.voiced_ms, done))

    @property
    def _quiet_ns(self) -> int:
        return max((u.quiet_ns for u in self.live), default=0)

    @property
    def settled(self) -> bool:
        """Whether he pauses, and the words will be these if he says no more."""
        return all(u.final is not None or u.settled_words for u in self.live)

    def done(self, now_ns: int) -> bool:
        """Quiet for the wait, and the words are there or will not come any more."""
        return (
            all(u.ended and (not _awaited(u) or u.given_up(now_ns)) for u in self.live)
            and self._answer_from_ns(now_ns) <= now_ns
        )

    def _answer_from_ns(self, now_ns: int) -> int:
        return self._quiet_ns + int(self.wait_ms(now_ns) * MS)

    # -- what is stuck ---------------------------------------------------------------------------

    def stuck(self, now_ns: int, agent_speaks: bool) -> list[tuple[Watchdog, Utterance]]:
        """Whose end is overdue: it is taken for ended; whose words are: it is dismissed.

        Words are not missed while the agent speaks: what is said over it is judged elsewhere.
        """
        found: list[tuple[Watchdog, Utterance]] = []
        for utterance in self.live:
            if agent_speaks:
                utterance.begun_ns = now_ns
            lost_ns, wordless_ns = self._limits(utterance)
            if lost_ns is not None and lost_ns <= now_ns:
                self._end(utterance, now_ns)
                utterance.quiet_ns = utterance.news_ns
                found.append(("no_end", utterance))
            elif wordless_ns is not None and wordless_ns <= now_ns:
                utterance.dismissed = True
                found.append(("no_words", utterance))
        return found

    def _limits(self, utterance: Utterance) -> tuple[int | None, int | None]:
        """When its voice, and when its words, are overdue; None for never."""
        patience = self._rules.patience
        if utterance.ended:
            return None, None
        lost_ns = utterance.news_ns + int(patience.voice_lost_ms * MS)
        wordless_ns = utterance.begun_ns + int(patience.no_words_ms * MS)
        return (
            lost_ns if patience.voice_lost_ms else None,
            wordless_ns if patience.no_words_ms and not utterance.words else None,
        )

    def deadlines(self, now_ns: int) -> list[int]:
        """When `done` or `stuck` may change though nothing happens."""
        live = self.live
        limits = [limit for u in live for limit in self._limits(u) if limit is not None]
        by = [u.final_by_ns for u in live if u.ended]
        return [*limits, *by, self._answer_from_ns(now_ns)] if by else limits


def _awaited(utterance: Utterance) -> bool:
    """Whether more is to come: its words, or over the agent whether they were meant."""
    return utterance.final is None or (utterance.over_agent and utterance.second_due)
