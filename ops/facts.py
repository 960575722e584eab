"""In come the records of one call; out go its moments: what was said when, and by whom."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import TypeVar

from bus.recording import Record
from schemas import (
    AgentPcm,
    Audio,
    CallerPcm,
    Event,
    LinePcm,
    PlaybackStarted,
    TurnCancelled,
    TurnEnded,
    TurnStarted,
)

CALLER_RATE = 16_000
"""Positions in speech events count samples at this rate, whatever the line's own is."""

E = TypeVar("E", bound=Event)


def said_ns(record: Record) -> int:
    """When it was said, not when the recorder heard it: one box, one monotonic clock."""
    return record.stamp.at_ns if record.stamp else record.at_ns


def told(records: Iterable[Record], kind: type[E]) -> list[tuple[int, E]]:
    """Every event of `kind`, with the time (ns) it was said."""
    return [(said_ns(record), record.event) for record in records if isinstance(record.event, kind)]


class SampleClock:
    """When each caller sample arrived: the time of the frame that carried it."""

    def __init__(self, records: Sequence[Record]) -> None:
        sound: Sequence[tuple[int, Audio]] = told(records, LinePcm) or told(records, CallerPcm)
        spans = sorted((_at_16k(a.end, a), ns, _at_16k(a.first, a)) for ns, a in sound if a.samples)
        self._ends = [end for end, _, _ in spans]
        self._ns = [ns for _, ns, _ in spans]
        self.zero_ns = min(
            (ns - first * 1_000_000_000 // CALLER_RATE for _, ns, first in spans), default=None
        )

    def ns(self, sample: int) -> int | None:
        """The time of a 16 kHz position, None when no frame of the recording carried it."""
        index = bisect_right(self._ends, sample)
        return self._ns[index] if index < len(self._ns) else None


def _at_16k(position: int, audio: Audio) -> int:
    return position * CALLER_RATE // audio.rate


def turn_numbers(records: Sequence[Record]) -> dict[int, int]:
    """1, 2, … for the turns of the call: their ids are seeded from the wall clock.

    Drafts that came to nothing have none.
    """
    facts = (TurnStarted, TurnCancelled, TurnEnded)
    ids = {
        record.event.turn
        for record in records
        if isinstance(record.event, facts) and not is_draft(record.event)
    }
    return {turn: number for number, turn in enumerate(sorted(ids - {0}), start=1)}


def is_draft(event: Event) -> bool:
    """Whether it tells of a draft that was cancelled."""
    return isinstance(event, TurnCancelled) and event.reason.startswith("draft:")


def first_ns(records: Sequence[Record], kind: type[Event], turn: int) -> int | None:
    """When the first event of `kind` of a turn was said."""
    return min((ns for ns, event in told(records, kind) if event.turn == turn), default=None)


def first_sound_ns(records: Sequence[Record], turn: int) -> int | None:
    """When the agent's voice of a turn left for the line."""
    return first_ns(records, AgentPcm, turn) or first_ns(records, PlaybackStarted, turn)


def last_sound_ns(records: Sequence[Record], turn: int) -> int | None:
    """When the last frame of the turn left for the line."""
    frames = told(records, AgentPcm)
    return max((ns for ns, frame in frames if frame.turn == turn and frame.samples), default=None)


def ms_between(since: int | None, until: int | None) -> float | None:
    """From one moment (ns) to the next; None when either never came."""
    return None if since is None or until is None else round((until - since) / 1e6, 1)


def fence_ns(fact: TurnCancelled) -> int:
    """When playback's fence of that round was up."""
    told_ms = (row.fenced_ms for row in fact.rows if row.actor == "playback")
    fenced_ms = next((ms for ms in told_ms if ms is not None), fact.took_ms)
    return fact.sent_ns + round(fenced_ms * 1e6)
