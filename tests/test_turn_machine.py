"""Whatever happens in whatever order, the rules keep the floor in order: a Hypothesis state machine."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actors.duplex import HalfDuplex
from actors.turn_rules import Conversation
from actors.turn_state import MS, Effect, Patience, Phrases, Rules, Say, Stop
from schemas import (
    ActorBack,
    CallClosed,
    CancelCall,
    Event,
    GoOn,
    Interject,
    LlmFinished,
    Respond,
    Resume,
    TurnEnded,
    TurnStarted,
)
from tests.talk import CALL, FULL, Talk, ends, fin, finished, goes, on, part, played, says

RULES = Rules(endpointing="fixed", max_turn_ms=6000, answer_wait_ms=1500, final_wait_ms=800)
WATCHFUL = replace(
    RULES,
    patience=Patience(800, 4000, 2000, 700, 900, idle_ms=0),
    phrases=Phrases(sorry="pardon", moment="one moment", apology="sorry"),
)
lengths = st.sampled_from([50, 150, 250, 500, 900])
SAYS = ["", "mm hm", "stop", "and what about"]


class Floor(RuleBasedStateMachine):
    """The caller, the recogniser, the agent and an operator, none of whom can be relied on."""

    @initialize(half=st.booleans(), watchful=st.booleans(), drafts=st.sampled_from([0, 3]))
    def open(self, half: bool, watchful: bool, drafts: int) -> None:
        rules = replace(WATCHFUL if watchful else RULES, drafts=drafts)
        self.talk = Talk(HalfDuplex() if half else FULL, rules, turn_base=100)
        self.now_ms = 0
        self.seen = 0
        self.open_turn = 0
        self.last_turn = 100
        self.stopped: set[int] = set()
        self.finished: set[int] = set()
        self.closing = False
        self.ended: Counter[int] = Counter()
        self.texts: dict[int, str] = {}
        self.outcomes: dict[int, str] = {}
        self.responds: Counter[int] = Counter()
        self.asked_again = 0
        self.written: set[int] = set()
        self.resumed: Counter[int] = Counter()
        self.drafted = 0
        """The draft in work; 0 for none."""
        self.speaking: int | None = None
        self.pending: list[int] = []
        self.said: list[str] = []

    # -- what may happen -------------------------------------------------------------------------

    def tell(self, *events: Event) -> None:
        self.talk.tell(self.now_ms, *events)
        self.check()

    @rule(ms=st.sampled_from([1, 20, 150, 400, 1000, 3000]))
    def time(self, ms: int) -> None:
        self.now_ms += ms
        self.tell()

    @precondition(lambda self: self.speaking is None)
    @rule()
    def onset(self) -> None:
        self.now_ms += 1
        self.speaking = self.now_ms
        self.tell(on(self.now_ms))

    @precondition(lambda self: self.speaking is not None)
    @rule(voiced=lengths, text=st.sampled_from(SAYS), settled=st.booleans())
    def goes_on(self, voiced: int, text: str, settled: bool) -> None:
        assert self.speaking is not None
        self.tell(goes(self.speaking, voiced), part(self.speaking, text, settled))

    @precondition(lambda self: self.speaking is not None)
    @rule(voiced=lengths, told=st.booleans())
    def falls_silent(self, voiced: int, told: bool) -> None:
        assert self.speaking is not None
        self.tell(ends(self.speaking, voiced))
        if told:
            self.pending.append(self.speaking)
        self.speaking = None

    @precondition(lambda self: self.pending)
    @rule(data=st.data(), text=st.sampled_from(SAYS))
    def recognised(self, data: st.DataObject, text: str) -> None:
        """Every utterance has a word of its own, so that its answers can be told apart."""
        onset = data.draw(st.sampled_from(self.pending))
        self.pending.remove(onset)
        own = f"{text} word{onset}.".strip() if text else ""
        if own:
            self.said.append(f"word{onset}.")
        self.tell(fin(onset, own))

    @rule(stale=st.booleans(), kind=st.integers(0, 4))
    def agent(self, stale: bool, kind: int) -> None:
        """Of the turn in progress, or of the one before it."""
        turn = self.last_turn - stale
        if turn == self.drafted and kind in (1, 2, 3):
            return  # playback holds a draft
        events: list[list[Event]] = [
            says(turn, "it is ten past two"),
            [played(turn, 250)],
            [played(turn, 500, ended=True)],
            [finished(turn)],
            [LlmFinished(call=CALL, turn=turn, sentences=0, tokens=0, error="down")],
        ]
        if kind == 3:
            self.finished.add(turn)
        if kind == 4:
            self.written.add(turn)
        self.tell(*events[kind])

    @rule()
    def operator(self) -> None:
        self.tell(CancelCall(call=CALL))

    @rule(actor=st.sampled_from(["llm", "tts", "playback", "stt"]))
    def restarted(self, actor: str) -> None:
        self.asked_again += actor == "llm"
        self.tell(ActorBack(call=CALL, actor=actor))

    # -- what must be true -----------------------------------------------------------------------

    def check(self) -> None:
        fresh, self.seen = self.talk.effects[self.seen :], len(self.talk.effects)
        for effect in fresh:
            self.take(effect)

    def take(self, effect: Effect) -> None:
        if isinstance(effect, Stop):
            assert effect.turn in (self.open_turn, self.drafted)
            assert effect.turn not in self.stopped, "a turn is stopped once"
            self.stopped.add(effect.turn)
            if effect.turn == self.drafted:
                self.drafted = 0
                del self.responds[effect.turn]
            return
        if not isinstance(effect, Say):
            return
        match effect.event:
            case TurnStarted(turn=turn, text=text):
                assert self.open_turn == 0, "one turn at a time"
                assert turn == self.drafted or turn > self.last_turn, "turn numbers only grow"
                assert self.drafted in (0, turn), "a draft is the answer, or cancelled before it"
                self.open_turn = self.last_turn = turn
                self.drafted = 0
                self.texts[turn] = text
            case Respond(turn=turn, draft=True):
                assert self.open_turn == 0, "a draft is made while the caller has the floor"
                assert self.drafted == 0, "one draft at a time"
                assert turn > self.last_turn
                self.drafted = self.last_turn = turn
                self.responds[turn] += 1
            case Respond(turn=turn):
                assert turn == self.open_turn
                self.responds[turn] += 1
            case GoOn(turn=turn):
                assert turn == self.open_turn
                assert turn not in self.stopped | self.written | self.finished
                self.resumed[turn] += 1
            case Resume(turn=turn, last=last):
                assert turn == self.open_turn
                assert turn not in self.stopped | self.finished
                assert last == (turn in self.written)
                self.resumed[turn] += 1
            case Interject(turn=turn):
                assert turn == self.open_turn
                assert turn not in self.stopped
            case TurnEnded(turn=turn, outcome=outcome):
                assert turn == self.open_turn
                over = turn in self.stopped or turn in self.finished or self.closing
                assert over, "a turn that is still spoken is not forgotten"
                self.open_turn = 0
                self.ended[turn] += 1
                self.outcomes[turn] = outcome

    @invariant()
    def never_two_answers(self) -> None:
        if not hasattr(self, "talk"):
            return
        given = len(self.texts) + bool(self.drafted) + self.asked_again
        assert sum(self.responds.values()) <= given
        answered = [
            text for turn, text in self.texts.items() if self.outcomes.get(turn) != "superseded"
        ]
        assert all(sum(word in text for text in answered) <= 1 for word in self.said)

    @invariant()
    def an_answer_is_not_taken_up_for_ever(self) -> None:
        if hasattr(self, "talk"):
            assert max(self.resumed.values(), default=0) <= RULES.resumptions

    @invariant()
    def the_alarm_is_set_for_later(self) -> None:
        if not hasattr(self, "talk"):
            return
        rules: Conversation = self.talk.rules
        assert rules.deadline_ns is None or rules.deadline_ns > self.talk.now_ns
        assert rules.turn == self.open_turn
        assert not rules.turn or rules.deadline_ns is not None, "a turn without an end"

    def teardown(self) -> None:
        """When all fall silent the floor is free again, and the next question is answered."""
        if not hasattr(self, "talk"):
            return
        if self.speaking is not None:
            self.tell(ends(self.speaking, 100))
        for _ in range(1000):
            if self.talk.rules.deadline_ns is None:
                break
            self.now_ms = -(-self.talk.rules.deadline_ns // MS)
            self.tell()
        assert self.talk.rules.deadline_ns is None, "an alarm set again for ever"
        assert self.talk.rules.turn == 0
        onset = self.now_ms = self.now_ms + 1
        self.tell(on(onset))
        self.now_ms += 500
        self.tell(ends(onset, 400), fin(onset, "the last question"))
        self.now_ms += 1000
        self.tell()
        assert self.texts[max(self.texts)].endswith("the last question")
        self.closing = True
        self.tell(CallClosed(call=CALL, reason="hangup"))
        assert self.ended == Counter(self.texts.keys())
        assert not self.drafted


Floor.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestFloor = Floor.TestCase
