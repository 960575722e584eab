"""Positions of sound nobody transcribes now go in, chunks for the batch engine come out. Pure.

A chunk is a range of the journal, so that nothing is copied and nothing can be lost by a failure: it stays
in front until its words are there.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True)
class Chunk:
    """Samples [start, end), waiting since `since_ns`."""

    start: int
    end: int
    since_ns: int


class Degraded:
    """What one channel owes while its recogniser is away. `front`: its first sample without words."""

    def __init__(self, front: int, since_ns: int, why: str = "") -> None:
        self.since_ns, self.why = since_ns, why
        self._pending: deque[Chunk] = deque()
        self._open, self._open_since_ns = front, since_ns

    @property
    def front(self) -> int:
        """The first sample that has no words yet."""
        return self._pending[0].start if self._pending else self._open

    def swap(self, to: int, at_ns: int) -> None:
        """What was heard before `to` becomes a chunk; what comes after it waits for the next."""
        if to > self._open:
            self._pending.append(Chunk(self._open, to, self._open_since_ns))
            self._open, self._open_since_ns = to, at_ns

    def next(self) -> Chunk | None:
        """The chunk whose turn it is: the oldest, however often it has failed."""
        return self._pending[0] if self._pending else None

    def done(self, chunk: Chunk) -> None:
        """Its words are there."""
        if not self._pending or self._pending[0] != chunk:
            raise ValueError(f"{chunk} is not the one in front")
        self._pending.popleft()


class Allowance:
    """How much sound may be sent to a paid engine: seconds per 24 hours; 0 for no limit."""

    DAY_NS = 24 * 3600 * 1_000_000_000

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self._spent: deque[tuple[int, float]] = deque()

    def spend(self, seconds: float, at_ns: int) -> bool:
        """Whether that much may be sent now; if so it counts."""
        while self._spent and self._spent[0][0] <= at_ns - self.DAY_NS:
            self._spent.popleft()
        if self._seconds and sum(s for _, s in self._spent) + seconds > self._seconds:
            return False
        self._spent.append((at_ns, seconds))
        return True
