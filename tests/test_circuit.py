"""The circuit against a model that looks at the whole history (row O1)."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from actors.circuit import Circuit, Transition

S = 1_000_000_000


class CircuitMachine(RuleBasedStateMachine):
    """Failures, successes and time in any order."""

    @initialize(threshold=st.integers(-3, 4), reset_s=st.sampled_from([-1.0, 0.0, 0.2, 1.0, 2.5]))
    def begin(self, threshold: int, reset_s: float) -> None:
        self.circuit = Circuit(threshold, reset_s)
        self.threshold = max(1, threshold)
        self.reset_ns = int(max(1.0, reset_s) * S)
        self.now = 0
        self.opened_ns = 0
        self.in_a_row = 0
        self.model = "closed"

    def check(self, transition: Transition | None, now: str) -> None:
        """A transition is told exactly when the state changes."""
        if now == self.model:
            assert transition is None
        else:
            assert transition is not None
            assert (transition.was, transition.now) == (self.model, now)
            assert transition.reason
        self.model = now

    @rule(passing_ns=st.sampled_from([1, S - 1, S, 3 * S]))
    def time(self, passing_ns: int) -> None:
        self.now += passing_ns
        due = self.model == "open" and self.now >= self.opened_ns + self.reset_ns
        self.check(self.circuit.tell_time(self.now), "half_open" if due else self.model)

    @rule()
    def failed(self) -> None:
        self.in_a_row += 1
        opens = self.model == "half_open" or (
            self.model == "closed" and self.in_a_row >= self.threshold
        )
        if opens:
            self.opened_ns = self.now
        self.check(self.circuit.failed(self.now, "why"), "open" if opens else self.model)

    @rule()
    def worked(self) -> None:
        if self.model != "open":
            self.in_a_row = 0
        self.check(self.circuit.worked(), "open" if self.model == "open" else "closed")

    @rule()
    def tripped(self) -> None:
        self.opened_ns = self.now
        self.check(self.circuit.trip(self.now, "by hand"), "open")

    @rule()
    def reset(self) -> None:
        self.in_a_row = 0
        self.check(self.circuit.reset("by hand"), "closed")

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "circuit"):
            return
        assert self.circuit.state == self.model
        half_opens = self.opened_ns + self.reset_ns if self.model == "open" else None
        assert self.circuit.half_opens_ns == half_opens


CircuitMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
TestCircuit = CircuitMachine.TestCase


def test_no_setting_makes_a_circuit_that_opens_on_nothing_or_flaps() -> None:
    circuit = Circuit(threshold=0, reset_s=0.001)
    assert circuit.worked() is None
    assert circuit.failed(0, "down") == Transition("closed", "open", "down")
    assert circuit.tell_time(S - 1) is None
    assert circuit.tell_time(S) == Transition("open", "half_open", "reset timeout")
