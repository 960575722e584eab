"""Who is wedged: in come timed sightings, answers and complaints, out come kills. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MS = 1_000_000
SLOW_BEATS = 3
SEVERAL = 2
"""Times longer all may be silent or blocked where more than one is: a box that stood still, most likely."""


@dataclass(frozen=True)
class Limits:
    """All in ns. `poll_ns`: how often `kills` is called when all goes well.

    `boot_grace_ns`: how long one that never was ready may be silent, as often as it likes.
    """

    wedge_ns: int
    poll_ns: int
    boot_grace_ns: int
    slow_ms: float = 2000.0


@dataclass(frozen=True)
class Kill:
    """An order: SIGKILL this pid, if the actor still has it."""

    actor: str
    pid: int
    why: str


@dataclass
class _Incarnation:
    pid: int
    since: int
    answered: int
    ready: bool = False
    loop_age_ms: float = 0.0
    complaint: str = ""
    slow_beats: int = 0
    killed: bool = False


@dataclass
class WedgeWatch:
    """Times are CLOCK_MONOTONIC ns. `patience`: how many times longer an actor may be silent."""

    limits: Limits
    patience: Mapping[str, int] = field(default_factory=dict)
    _living: dict[str, _Incarnation] = field(default_factory=dict)
    _judged: int | None = None

    def seen(self, actor: str, pid: int, now: int) -> None:
        """supervisord says that `actor` is process `pid` (0: none)."""
        known = self._living.get(actor)
        if not pid:
            self._living.pop(actor, None)
        elif known is None or known.pid != pid:
            self._living[actor] = _Incarnation(pid=pid, since=now, answered=now)

    def answered(self, actor: str, pid: int, ready: bool, loop_age_ms: float, now: int) -> None:
        """The process has answered. A late word of a former incarnation counts for nothing."""
        living = self._living.get(actor)
        if living is None or living.pid != pid:
            return
        living.answered = now
        living.ready = living.ready or ready
        living.loop_age_ms = loop_age_ms

    def complained(self, actor: str, phase: str, waited_ms: float, at_ns: int) -> None:
        """turn_manager waited in vain. It meant whoever was there when it began to wait."""
        living = self._living.get(actor)
        if living is None or not living.ready or at_ns - waited_ms * MS < living.since:
            return
        living.complaint = f"CANCEL was not {phase} within {waited_ms:.0f} ms"

    def beat(self, actor: str, pid: int, lag_ms: float, missed: int) -> None:
        """A heartbeat: how old events were when taken up, how many were never received.

        A subscriber that stays behind loses messages once its queue is full: it is restarted
        before the others feel it.
        """
        living = self._living.get(actor)
        if living is None or living.pid != pid or not living.ready:
            return
        living.slow_beats = living.slow_beats + 1 if lag_ms > self.limits.slow_ms else 0
        if living.slow_beats >= SLOW_BEATS and not living.complaint:
            living.complaint = (
                f"slow subscriber: events {lag_ms:.0f} ms old in {SLOW_BEATS} heartbeats running "
                f"(allowed {self.limits.slow_ms:.0f} ms), {missed} messages missed"
            )

    def kills(self, now: int) -> list[Kill]:
        """Whom to kill now; each incarnation once."""
        self._excuse_if_late(now)
        self._judged = now
        found = self._found(now)
        if sum(not self._living[kill.actor].complaint for kill in found) > 1:
            found = self._found(now, SEVERAL)
        for kill in found:
            self._living[kill.actor].killed = True
        return found

    def _found(self, now: int, times: int = 1) -> list[Kill]:
        return [
            Kill(actor, living.pid, why)
            for actor, living in self._living.items()
            if not living.killed and (why := self._verdict(actor, living, now, times))
        ]

    def _excuse_if_late(self, now: int) -> None:
        """Who did not ask (a stopped warden, a stalled box) can't blame the silent."""
        limits = self.limits
        if self._judged is None or now - self._judged <= limits.poll_ns + limits.wedge_ns // 2:
            return
        for living in self._living.values():
            living.answered = max(living.answered, now)
            living.loop_age_ms = 0.0

    def _verdict(self, actor: str, living: _Incarnation, now: int, times: int) -> str:
        if living.complaint:
            return living.complaint
        limit = self.limits.wedge_ns * max(times, self.patience.get(actor, 1))
        if not living.ready:  # the import of a large library lets no other thread run for seconds
            limit = max(limit, self.limits.boot_grace_ns)
        if (silent := now - living.answered) > limit:
            return f"silent for {silent / MS:.0f} ms (allowed {limit / MS:.0f} ms)"
        if living.loop_age_ms > limit / MS:
            blocked = living.loop_age_ms
            return f"event loop blocked for {blocked:.0f} ms (allowed {limit / MS:.0f} ms)"
        return ""
