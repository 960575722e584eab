"""The fleet about itself: hello, health, heartbeats, gaps, breakers."""

from __future__ import annotations

from typing import Literal

from schemas.call import CallOpened
from schemas.event import Event

Flag = str | int | float | bool


class Hello(Event, frozen=True, tag="hello"):
    """A started actor introduces itself at turn_manager's door; the fences it already knows ride along."""

    actor: str
    inc: int
    pid: int
    fences: dict[str, int] = {}


class Welcome(Event, frozen=True, tag="welcome"):
    """The answer to Hello: calls in progress, and the highest cancelled turn of each."""

    calls: tuple[CallOpened, ...] = ()
    fences: dict[str, int] = {}


class AskHealth(Event, frozen=True, tag="health"):
    """Ask a door how its actor is. Answered by Health."""


class AskStats(Event, frozen=True, tag="stats"):
    """Ask a door for the actor's counters. Answered by Heartbeat."""


class Drain(Event, frozen=True, tag="drain"):
    """Finish the calls in progress, take no new one. Answered by Health."""


class Refused(Event, frozen=True, tag="refused"):
    """A door's no: `why` in words, `status` as HTTP would say it (503 not ready, 404 unknown call …)."""

    why: str
    status: int


class Done(Event, frozen=True, tag="done"):
    """A door's yes to an order that has no answer of its own."""

    detail: str = ""


class Health(Event, frozen=True, tag="health.report"):
    """How an actor is. `status` 200 when ready, 503 otherwise; `loop_age_ms` grows when it is blocked."""

    actor: str
    inc: int
    pid: int
    ready: bool
    status: int
    detail: str
    loop_age_ms: float


class Heartbeat(Event, frozen=True, tag="heartbeat"):
    """Twice a second from every actor; counters since its start.

    `received`, `sent`, `stale` (dropped behind a fence), `malformed`, `missed` (sequence gaps) count
    messages; `lag_ms` is the greatest age of an event when it was taken up, since the last
    heartbeat; `rss_bytes` resident memory.
    """

    actor: str
    inc: int
    pid: int
    state: Literal["starting", "ready", "draining"]
    detail: str
    uptime_ms: float
    rss_bytes: int
    lag_ms: float
    received: int
    sent: int
    stale: int
    malformed: int
    missed: int
    calls: int
    flags: dict[str, Flag] = {}
    extra: dict[str, float] = {}


class BusGap(Event, frozen=True, tag="bus.gap"):
    """`actor` missed `missed` messages of `topic` from `origin`: sequence numbers jumped."""

    actor: str
    origin: str
    topic: str
    expected: int
    got: int
    missed: int


class EngineFailed(Event, frozen=True, tag="engine.failed"):
    """An engine or endpoint behind `service` failed; `error` in words."""

    service: str
    error: str
    endpoint: str = ""


class EngineWorked(Event, frozen=True, tag="engine.worked"):
    """A request to `service` came to its end in good order."""

    service: str
    endpoint: str = ""


class BreakerChanged(Event, frozen=True, tag="breaker.changed"):
    """A circuit changed its state."""

    service: str
    state: Literal["closed", "open", "half_open"]
    was: Literal["closed", "open", "half_open"]
    failures: int
    reason: str
    endpoint: str = ""


class BreakerBegan(Event, frozen=True, tag="breaker.began"):
    """The breaker has started: all circuits are closed, whatever they were before."""


class ActorKilled(Event, frozen=True, tag="actor.killed"):
    """The warden killed a wedged process; supervisord starts it again."""

    actor: str
    pid: int
    why: str


class Probe(Event, frozen=True, tag="probe"):
    """An actor's own echo: heard back, its subscriptions stand. `nonce` tells it from another's."""

    actor: str
    nonce: int
