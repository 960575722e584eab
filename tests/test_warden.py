"""WedgeWatch: who answers lives, who is silent dies once, and a new process is never blamed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ops.wedge import MS, Kill, Limits, WedgeWatch

LIMITS = Limits(wedge_ns=1000 * MS, poll_ns=250 * MS, boot_grace_ns=20_000 * MS)
POLL = LIMITS.poll_ns
START = 7_000_000 * MS


def watch_of(pid: int = 100, ready: bool = True) -> WedgeWatch:
    watch = WedgeWatch(LIMITS, patience={"broker": 2})
    watch.seen("stt", pid, START)
    if ready:
        watch.answered("stt", pid, True, 0.0, START)
    return watch


def silent(watch: WedgeWatch, ticks: int, start: int = START) -> list[tuple[int, Kill]]:
    """Judge on time, nobody answering: (ms since start, kill)."""
    return [
        ((now - start) // MS, kill)
        for now in range(start, start + ticks * POLL, POLL)
        for kill in watch.kills(now)
    ]


def test_a_silent_actor_is_killed_once_just_after_wedge_ms() -> None:
    [(after_ms, kill)] = silent(watch_of(), 100)
    assert after_ms == 1250
    assert (kill.actor, kill.pid) == ("stt", 100)
    assert kill.why == "silent for 1250 ms (allowed 1000 ms)"


def test_a_starting_actor_has_its_boot_grace() -> None:
    [(after_ms, _)] = silent(watch_of(ready=False), 100)
    assert after_ms == 20_250


def test_one_that_loads_for_minutes_but_answers_lives() -> None:
    watch = watch_of(ready=False)
    for now in range(START, START + 300_000 * MS, POLL):
        watch.answered("stt", 100, False, 10.0, now)
        assert not watch.kills(now)


def test_one_that_loads_may_be_silent_again_and_again_until_it_was_ready() -> None:
    """Reading a large library keeps the door from answering for seconds."""
    watch = watch_of(ready=False)
    for now in range(START, START + 300_000 * MS, POLL):
        if (now - START) % (15_000 * MS) == 0:
            watch.answered("stt", 100, False, 10.0, now)
        assert not watch.kills(now)
    watch.answered("stt", 100, True, 0.0, now)
    assert silent(watch, 100, now)[0][0] == 1250


def test_a_blocked_loop_is_a_wedge_even_if_the_door_answers() -> None:
    watch = watch_of()
    watch.answered("stt", 100, True, 1000.0, START)
    assert not watch.kills(START)
    watch.answered("stt", 100, True, 1001.0, START)
    assert watch.kills(START)[0].why == "event loop blocked for 1001 ms (allowed 1000 ms)"


def test_two_at_once_are_a_box_that_stood_still_and_have_twice_the_time() -> None:
    watch = watch_of()
    watch.seen("llm", 7, START)
    for blocked_ms, killed in ((1500.0, []), (2001.0, ["stt", "llm"])):
        watch.answered("stt", 100, True, blocked_ms, START)
        watch.answered("llm", 7, True, blocked_ms, START)
        assert [kill.actor for kill in watch.kills(START)] == killed


def test_one_that_a_cancel_waits_for_gives_another_no_time() -> None:
    watch = watch_of()
    watch.seen("llm", 7, START)
    watch.answered("llm", 7, True, 0.0, START)
    watch.complained("llm", "released", 10.0, START + 300 * MS)
    watch.answered("stt", 100, True, 1001.0, START)
    assert {kill.actor for kill in watch.kills(START)} == {"stt", "llm"}


def test_the_other_of_two_that_goes_on_leaves_a_wedged_one() -> None:
    watch = watch_of()
    watch.seen("llm", 7, START)
    for llm_ms, killed in ((1500.0, []), (5.0, ["stt"])):
        watch.answered("stt", 100, True, 1500.0, START)
        watch.answered("llm", 7, True, llm_ms, START)
        assert [kill.actor for kill in watch.kills(START)] == killed


def test_the_broker_may_be_silent_twice_as_long() -> None:
    watch = watch_of()
    watch.seen("stt", 0, START)
    watch.seen("broker", 5, START)
    watch.answered("broker", 5, True, 0.0, START)
    [(after_ms, kill)] = silent(watch, 100)
    assert (after_ms, kill.actor) == (2250, "broker")


def test_a_complaint_kills_at_the_next_judgement() -> None:
    watch = watch_of()
    watch.complained("stt", "fenced", 250.0, START + 300 * MS)
    [kill] = watch.kills(START + POLL)
    assert kill.why == "CANCEL was not fenced within 250 ms"


def test_a_complaint_about_the_one_before_spares_the_new_one() -> None:
    watch = watch_of()
    watch.seen("stt", 101, START + 200 * MS)
    watch.answered("stt", 101, True, 0.0, START + 200 * MS)
    watch.complained("stt", "fenced", 250.0, START + 300 * MS)
    assert not watch.kills(START + POLL)


def test_a_complaint_about_one_still_loading_waits_for_its_grace() -> None:
    watch = watch_of(ready=False)
    watch.complained("stt", "released", 10.0, START + 300 * MS)
    assert not watch.kills(START + POLL)


def test_a_complaint_about_a_stranger_is_no_matter() -> None:
    watch = watch_of()
    watch.complained("nobody", "fenced", 250.0, START + 300 * MS)
    assert not watch.kills(START + POLL)


def test_a_late_warden_blames_nobody() -> None:
    watch = watch_of()
    assert not watch.kills(START)
    assert not watch.kills(START + 60_000 * MS)
    assert silent(watch, 100, START + 60_000 * MS)[0][0] == 1250


def test_a_word_of_the_former_process_does_not_vouch_for_the_new_one() -> None:
    watch = watch_of()
    watch.seen("stt", 101, START)
    watch.answered("stt", 100, True, 0.0, START)
    assert silent(watch, 100)[0][0] == 20_250


delays = st.lists(st.integers(0, 999 * MS), min_size=1, max_size=60)


@given(delays)
def test_who_answers_within_wedge_ms_is_never_killed(gaps: list[int]) -> None:
    watch = watch_of()
    answered = now = START
    for gap in gaps:
        answered += gap
        while now + POLL <= answered:
            now += POLL
            assert not watch.kills(now)
        watch.answered("stt", 100, True, 0.0, answered)


@given(st.lists(st.tuples(st.integers(1, 30), st.booleans()), min_size=1, max_size=20))
def test_each_silent_incarnation_dies_exactly_once(lives: list[tuple[int, bool]]) -> None:
    """Each process answers for some ticks, falls silent, and is complained about now and then."""
    watch = WedgeWatch(LIMITS)
    now = START
    for pid, (ticks, complaint) in enumerate(lives, start=1):
        watch.seen("stt", pid, now)
        for _ in range(ticks):
            watch.answered("stt", pid, True, 0.0, now)
            assert not watch.kills(now)
            now += POLL
        killed = []
        for _ in range(12):
            if complaint:
                watch.complained("stt", "fenced", 20.0, now)
            killed += watch.kills(now)
            now += POLL
        assert [kill.pid for kill in killed] == [pid]


@given(st.integers(0, 2000), st.floats(1.0, 2000.0))
def test_only_whom_the_round_waited_for_can_be_meant(age_ms: int, waited_ms: float) -> None:
    """A process younger than the wait was not there when the CANCEL went out."""
    watch = watch_of()
    watch.complained("stt", "fenced", waited_ms, START + age_ms * MS)
    assert bool(watch.kills(START)) is (waited_ms <= age_ms)


def test_a_slow_subscriber_is_restarted_one_that_catches_up_is_not() -> None:
    watch = watch_of()
    for lag_ms in (2500.0, 2500.0, 10.0, 2500.0, 2500.0):
        watch.beat("stt", 100, lag_ms, missed=3)
    assert not watch.kills(START)
    watch.beat("stt", 99, 2500.0, missed=3)  # a former incarnation's
    assert not watch.kills(START)
    watch.beat("stt", 100, 2600.0, missed=7)
    [kill] = watch.kills(START)
    assert "slow subscriber" in kill.why
    assert "7 messages missed" in kill.why
