"""The fence against a model of it that is a plain dictionary."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bus.fence import REMEMBERED_CALLS, Fence
from schemas import CancelStuck, Final, Sentence

calls = st.sampled_from(["", "A", "AB", "B", "\0"])
turns = st.integers(min_value=-2, max_value=9)


class FenceMachine(RuleBasedStateMachine):
    """Raise, merge and hand over in any order; compare with the highest turn of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.fence = Fence()
        self.model: dict[str, int] = {}

    @rule(call=calls, turn=turns)
    def raise_to(self, call: str, turn: int) -> None:
        higher = turn > self.model.get(call, 0)
        assert self.fence.raise_to(call, turn) is higher
        if higher:
            self.model[call] = turn

    @rule(known=st.dictionaries(calls, turns))
    def merge(self, known: dict[str, int]) -> None:
        self.fence.merge(known)
        for call, turn in known.items():
            if turn > self.model.get(call, 0):
                self.model[call] = turn

    @rule()
    def hand_over(self) -> None:
        heir = Fence()
        heir.merge(self.fence.snapshot())
        self.fence = heir

    @rule(call=calls, turn=turns)
    def passes(self, call: str, turn: int) -> None:
        sentence = Sentence(call=call, turn=turn, index=0, text="")
        expected = turn == 0 or turn > self.model.get(call, 0)
        assert self.fence.passes(sentence) is expected

    @rule(call=calls, turn=turns)
    def a_report_always_passes(self, call: str, turn: int) -> None:
        stuck = CancelStuck(call=call, turn=turn, actor="tts", phase="fenced", waited_ms=1)
        assert self.fence.passes(stuck)

    @invariant()
    def heights_agree(self) -> None:
        assert self.fence.snapshot() == self.model
        assert all(self.fence.height(call) == turn for call, turn in self.model.items())


FenceMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestFence = FenceMachine.TestCase


def test_what_is_bound_to_no_turn_passes_any_fence() -> None:
    fence = Fence()
    fence.raise_to("A", 1 << 60)
    assert fence.passes(Final(call="A", utterance=1, text="", start=0, end=0))


def test_only_the_calls_cancelled_last_are_remembered() -> None:
    fence = Fence()
    for number in range(REMEMBERED_CALLS):
        fence.raise_to(f"call{number}", 1)
    fence.raise_to("call0", 2)
    fence.raise_to("one more", 1)
    assert fence.height("call0") == 2
    assert fence.height("call1") == 0
    assert len(fence.snapshot()) == REMEMBERED_CALLS
