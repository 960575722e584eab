"""The small rules of degraded mode: chunks (O5), backoff (O3), budget, stall; and the line's memory."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from actors.backoff import LONGEST_S, backoff_s
from actors.degraded import Allowance, Chunk, Degraded
from actors.intake import ASK_NS, ASKS, MUTE_NS, Intake, line_position
from actors.stall import Stall
from ops.unconfirmed import Unconfirmed

MS = 1_000_000
S = 1_000_000_000


class DegradedMachine(RuleBasedStateMachine):
    """Sound comes, chunks are made, fail and succeed in any order of events."""

    @initialize(front=st.integers(0, 100))
    def begin(self, front: int) -> None:
        self.now = 7
        self.degraded = Degraded(front, self.now)
        self.start = self.heard = self.done_to = front
        self.waiting: deque[Chunk] = deque()
        self.open_since = self.now

    @rule(samples=st.integers(0, 50), passing=st.integers(1, 9))
    def sound(self, samples: int, passing: int) -> None:
        self.heard += samples
        self.now += passing

    @rule()
    def swap(self) -> None:
        begins = self.waiting[-1].end if self.waiting else self.done_to
        self.degraded.swap(self.heard, self.now)
        if self.heard > begins:
            self.waiting.append(Chunk(begins, self.heard, self.open_since))
            self.open_since = self.now

    @rule()
    def fails(self) -> None:
        """It stays in front, with the time since when it waits."""
        assert self.degraded.next() == (self.waiting[0] if self.waiting else None)

    @rule()
    def succeeds(self) -> None:
        if (chunk := self.degraded.next()) is not None:
            self.degraded.done(chunk)
            assert self.waiting.popleft() == chunk
            assert chunk.start == self.done_to
            self.done_to = chunk.end

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "degraded"):
            assert self.degraded.front == self.done_to
            assert self.degraded.next() == (self.waiting[0] if self.waiting else None)


DegradedMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=25, deadline=None)
TestDegraded = DegradedMachine.TestCase


def test_a_chunk_that_is_not_in_front_can_t_be_done() -> None:
    degraded = Degraded(0, 0)
    degraded.swap(10, 1)
    with pytest.raises(ValueError, match="not the one in front"):
        degraded.done(Chunk(0, 5, 0))


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_o3_backoff_doubles_with_jitter_and_is_capped(attempt: int, thrown: float) -> None:
    low, high = backoff_s(attempt, 0.0), backoff_s(attempt, 1.0)
    assert low <= backoff_s(attempt, thrown) <= high == 2 * low
    assert high == min(LONGEST_S, 2 * backoff_s(attempt - 1, 1.0) if attempt > 1 else high)


def test_o3_backoff_is_right_at_attempt_100() -> None:
    assert [backoff_s(attempt, 1.0) for attempt in (1, 2, 3, 8, 9, 10, 100)] == [
        *(0.2, 0.4, 0.8, 25.6),
        *(32.0, 32.0, 32.0),
    ]


def test_o5_a_budget_is_for_a_day() -> None:
    budget = Allowance(10.0)
    assert budget.spend(6.0, 0)
    assert not budget.spend(5.0, S)
    assert budget.spend(4.0, S)
    assert not budget.spend(1.0, Allowance.DAY_NS - 1)
    assert budget.spend(6.0, Allowance.DAY_NS)
    assert all(Allowance(0.0).spend(1e9, at) for at in range(3))


def test_a_hang_is_noticed_and_silence_is_none() -> None:
    stall = Stall(2500)
    assert not stall.hangs(10 * S)
    stall.fed(10 * S)
    stall.fed(12 * S)
    assert not stall.hangs(12 * S + 499 * MS)
    assert stall.hangs(12 * S + 500 * MS)
    stall.result(12 * S + 400 * MS, nothing_owed=False)
    assert not stall.hangs(14 * S)
    stall.result(14 * S, nothing_owed=True)
    assert not stall.hangs(99 * S)


def test_an_engine_that_tells_how_far_it_is_is_judged_by_that() -> None:
    """Speech in which nothing is understood gives no partials: that is no hang."""
    stall = Stall(2500)
    stall.fed(0)
    stall.worked(None, False, 5 * S)
    assert not stall.hangs(9 * S)  # its model is loading
    assert stall.hangs(10 * S)
    for second in range(1, 20):
        stall.fed(second * S)
        stall.worked(second * 16_000, False, second * S)
        assert not stall.hangs(second * S + 2 * S)
    assert stall.hangs(19 * S + 2500 * MS)


def test_an_engine_that_runs_gets_longer_but_not_for_ever() -> None:
    stall = Stall(2500)
    stall.fed(0)
    assert stall.hangs(2500 * MS)
    assert not stall.hangs(2500 * MS, runs=True)
    assert not stall.hangs(9999 * MS, runs=True)
    assert stall.hangs(10 * S, runs=True)


def test_what_is_missing_is_asked_for_again_and_given_up_in_time() -> None:
    intake = Intake(0)
    assert intake.judge(0, 320, False, 0) == "take"
    assert intake.judge(0, 320, False, 0) == "leave"
    assert intake.judge(640, 320, False, S) == "ask"
    assert intake.judge(960, 320, False, S + 1) == "leave"
    assert intake.expected == 320
    assert intake.judge(320, 960, True, S + 2) == "take"
    assert intake.judge(1280, 320, False, S + 3) == "take"
    assert intake.judge(2000, 320, False, 2 * S) == "ask"
    for ask in range(1, ASKS):  # the question may be lost, or the answer
        assert intake.judge(3000, 320, False, 2 * S + ask * ASK_NS - 1) == "leave"
        assert intake.judge(3000, 320, False, 2 * S + ask * ASK_NS) == "ask"
    assert intake.judge(3000, 320, False, 2 * S + ASKS * ASK_NS) == "take"
    assert intake.judge(4000, 320, False, 5 * S) == "ask"  # it did not answer: less patience
    assert intake.judge(4320, 320, False, 5 * S + MUTE_NS) == "take"
    assert intake.judge(5000, 320, True, 6 * S) == "take"  # the line has no more than that


@given(st.integers(0, 1 << 40), st.sampled_from([8000, 11_025, 16_000, 22_050, 44_100, 48_000]))
def test_the_line_begins_again_on_a_sample_that_both_rates_share(position: int, rate: int) -> None:
    line = line_position(position, rate)
    assert line * 16_000 % rate == 0
    assert line * 16_000 <= position * rate
    assert position * rate - line * 16_000 <= rate * 16_000 * 0.12


@given(
    st.lists(st.integers(1, 400), max_size=40),
    st.integers(1, 5000),
    st.integers(0, 9000),
    st.data(),
)
def test_the_line_sends_again_what_nobody_has_confirmed(
    sizes: list[int], limit: int, asked: int, data: st.DataObject
) -> None:
    kept, end, confirmed = Unconfirmed(limit), 0, 0
    for size in sizes:
        kept.add(end, b"".join(number.to_bytes(2, "little") for number in range(end, end + size)))
        end += size
        if data.draw(st.integers(0, 5)) == 0:
            confirmed = data.draw(st.integers(confirmed, end))
            kept.confirm(confirmed)
    pieces = list(kept.since(asked, 100))
    at = None
    for first, pcm in pieces:
        numbers = [int.from_bytes(pcm[i : i + 2], "little") for i in range(0, len(pcm), 2)]
        assert numbers == list(range(first, first + len(numbers)))
        assert at in (None, first)
        at = first + len(numbers)
    if asked < end and end > confirmed:
        assert at == end
        assert pieces[0][0] <= max(asked, confirmed, end - limit)
