"""Questions to the breaker: may I try, how do the circuits stand; and an operator's orders."""

from __future__ import annotations

from typing import Literal

import msgspec

from schemas.event import Count, Event

State = Literal["closed", "open", "half_open"]


class AskProbe(Event, frozen=True, tag="probe.ask"):
    """`owner` wants to try `service` for `call`. Answered by ProbeAnswer."""

    service: str
    owner: str
    inc: int
    endpoint: str = ""


class ProbeAnswer(Event, frozen=True, tag="probe.answer"):
    """Whether to try now. `lease` names the one probe of a half-open circuit; empty when it is closed.

    Refused: ask again after `retry_ms`, or when the circuit changes.
    """

    granted: bool
    state: State
    lease: str = ""
    why: str = ""
    retry_ms: float = 0.0


class ProbeDone(Event, frozen=True, tag="probe.done"):
    """The lease comes back: the probe `worked`, `failed`, or was not `used`."""

    lease: str
    outcome: Literal["worked", "failed", "unused"]
    error: str = ""


class AskBreakers(Event, frozen=True, tag="breaker.ask"):
    """Ask the breaker's door how its circuits stand. Answered by Breakers."""


class CircuitState(msgspec.Struct, frozen=True):
    """One circuit. `since_ns`: monotonic ns of its last change; `probe`: who holds the lease."""

    service: str
    endpoint: str
    state: State
    failures: int
    reason: str
    since_ns: Count
    half_opens_ns: int | None = None
    probe: str = ""


class Breakers(Event, frozen=True, tag="breaker.report"):
    """Every circuit there is."""

    circuits: tuple[CircuitState, ...] = ()


class TripBreaker(Event, frozen=True, tag="breaker.trip"):
    """An operator opens a circuit."""

    service: str
    endpoint: str = ""


class ResetBreaker(Event, frozen=True, tag="breaker.reset"):
    """An operator closes a circuit."""

    service: str
    endpoint: str = ""
