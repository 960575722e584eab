"""Gaps: what was lost between two sequence numbers is counted once, per source and topic."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bus.gaps import Gaps
from bus.stamps import Stamper
from schemas import Stamp

TOPIC = b"stt.final\0C1"


def stamp(seq: int, source: str = "stt", inc: int = 1) -> Stamp:
    return Stamp(source=source, inc=inc, seq=seq, at_ns=0)


@given(st.sets(st.integers(0, 60), min_size=1))
def test_missed_adds_up_to_what_never_came(seqs: set[int]) -> None:
    gaps = Gaps()
    missed = sum(gaps.missed(TOPIC, stamp(seq)) for seq in sorted(seqs))
    assert missed == len(set(range(min(seqs), max(seqs))) - seqs)


def test_a_duplicate_and_a_late_one_are_no_gap() -> None:
    gaps = Gaps()
    assert [gaps.missed(TOPIC, stamp(seq)) for seq in (0, 1, 1, 0, 2, 4, 3, 5)] == [0] * 5 + [
        1,
        0,
        0,
    ]


def test_a_restart_is_told_from_a_gap() -> None:
    gaps = Gaps()
    gaps.missed(TOPIC, stamp(7))
    assert gaps.missed(TOPIC, stamp(0, inc=2)) == 0
    assert gaps.missed(TOPIC, stamp(2, inc=2)) == 1


def test_sources_and_topics_are_counted_apart() -> None:
    gaps = Gaps()
    gaps.missed(TOPIC, stamp(0))
    assert gaps.missed(TOPIC, stamp(5, source="llm")) == 0
    assert gaps.missed(b"stt.final\0C2", stamp(9)) == 0
    assert gaps.missed(TOPIC, stamp(2)) == 1


def test_a_closed_call_leaves_nothing_behind() -> None:
    gaps, stamper = Gaps(), Stamper("stt", 1)
    for call in ("C1", "C2"):
        topic = b"stt.final\0" + call.encode()
        gaps.missed(topic, stamper(topic, 0))
    gaps.forget("C1")
    stamper.forget("C1")
    assert len(gaps) == 1
    assert stamper(TOPIC, 0).seq == 0
    assert stamper(b"stt.final\0C2", 0).seq == 1
