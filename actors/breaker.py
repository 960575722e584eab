"""breaker: failures and successes of engines and actors come in; circuit transitions go out.

At its door: who may try a half-open circuit (one in the whole fleet), how all circuits stand, and an
operator's trip and reset.
"""

from __future__ import annotations

import structlog

from actors.circuit import Circuit, Transition
from actors.leases import Key, Lease, Leases
from bus.clock import Alarm
from bus.runtime import Emit, Runtime
from schemas import (
    ActorKilled,
    AskBreakers,
    AskProbe,
    BreakerBegan,
    BreakerChanged,
    Breakers,
    CallClosed,
    CallOpened,
    CancelStuck,
    CircuitState,
    Done,
    EngineFailed,
    EngineWorked,
    Event,
    Heartbeat,
    ProbeAnswer,
    ProbeDone,
    Refused,
    ResetBreaker,
    TripBreaker,
)

log = structlog.get_logger()
SILENT_NS = 2_000_000_000
"""An actor not heard of for so long (four heartbeats) counts as failed."""


class BreakerActor:
    """A circuit per service and endpoint: `llm`, `tts`, `stt`; `actor:<name>` for actors in trouble."""

    name = "breaker"
    hears = (
        *(EngineFailed, EngineWorked, CancelStuck, ActorKilled),
        *(Heartbeat, CallOpened, CallClosed),
    )

    def __init__(self, threshold: int = 3, reset_s: float = 30.0) -> None:
        self._threshold, self._reset_s = threshold, reset_s
        self._circuits: dict[Key, Circuit] = {}
        self._said: dict[Key, tuple[str, int]] = {}
        self._timers: dict[Key, Alarm] = {}
        self._leases = Leases()
        self._calls: set[str] = set()
        self._heard: dict[str, tuple[int, int]] = {}
        self._runtime: Runtime | None = None

    def attach(self, runtime: Runtime) -> None:
        """Time-driven transitions are published without an event that causes them."""
        self._runtime = runtime

    async def load(self) -> None:
        """There is no engine here; whoever knew how circuits stood must not believe it any more."""
        if self._runtime is not None:
            self._runtime.link.publish(BreakerBegan())

    async def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()

    def gauges(self) -> dict[str, float]:
        """Circuits that are not closed, and probes under way."""
        return {
            "open_circuits": float(sum(c.state != "closed" for c in self._circuits.values())),
            "probe_leases": float(len(self._leases)),
        }

    def snapshot(self) -> tuple[CircuitState, ...]:
        """Every circuit, for status."""
        return tuple(self._state(key) for key in sorted(self._circuits))

    # -- events ----------------------------------------------------------------------------------

    async def react(self, event: Event, emit: Emit) -> None:
        if isinstance(event, EngineFailed):
            self._failed((event.service, event.endpoint), event.error)
        elif isinstance(event, EngineWorked):
            self._worked((event.service, event.endpoint))
        elif isinstance(event, CancelStuck):
            self._failed((f"actor:{event.actor}", ""), f"stuck: no {event.phase}")
        elif isinstance(event, ActorKilled):
            self._failed((f"actor:{event.actor}", ""), event.why)
            self._back(self._leases.owner_gone(event.actor), "its owner was killed")
        elif isinstance(event, Heartbeat):
            self._beat(event)
        elif isinstance(event, CallOpened):
            self._calls.add(event.call)
        elif isinstance(event, CallClosed):
            self._calls.discard(event.call)
            self._back(self._leases.call_over(event.call), "its call is over")

    def _beat(self, event: Heartbeat) -> None:
        """Who is heard of lives; who is not, while others are, does not."""
        now = self._now
        self._heard[event.actor] = (now, event.inc)
        self._back(
            self._leases.owner_gone(event.actor, but_inc=event.inc), "its owner was restarted"
        )
        key = (f"actor:{event.actor}", "")
        if (
            event.state == "ready"
            and key in self._circuits
            and self._circuits[key].state == "half_open"
        ):
            self._worked(key)
        for actor, (at_ns, _) in list(self._heard.items()):
            if now - at_ns >= SILENT_NS:
                del self._heard[actor]
                self._failed((f"actor:{actor}", ""), f"no heartbeat for {SILENT_NS / 1e9:g} s")
                self._back(self._leases.owner_gone(actor), "its owner is silent")
        self._back(self._leases.overdue(now), "it is overdue")

    def _circuit(self, key: Key) -> Circuit:
        return self._circuits.setdefault(key, Circuit(self._threshold, self._reset_s))

    def _failed(self, key: Key, reason: str) -> None:
        self._changed(key, self._circuit(key).failed(self._now, reason))
        self._wake(key)

    def _worked(self, key: Key) -> None:
        self._changed(key, self._circuit(key).worked())

    def _wake(self, key: Key) -> None:
        """Be there when an open circuit lets somebody try."""
        assert self._runtime is not None
        at_ns = self._circuit(key).half_opens_ns
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()
        if at_ns is not None:
            self._timers[key] = self._runtime.clock.call_at(at_ns, lambda: self._tell_time(key))

    def _tell_time(self, key: Key) -> None:
        self._changed(key, self._circuit(key).tell_time(self._now))

    @property
    def _now(self) -> int:
        assert self._runtime is not None
        return self._runtime.clock.now()

    def _changed(self, key: Key, transition: Transition | None) -> None:
        if transition is None:
            return
        self._said[key] = (transition.reason, self._now)
        self._leases.circuit_changed(key)
        log.warning(
            "circuit", service=key[0], endpoint=key[1], was=transition.was, now=transition.now
        )
        self._tell(key, transition)

    def _tell(self, key: Key, transition: Transition) -> None:
        assert self._runtime is not None
        self._runtime.link.publish(
            BreakerChanged(
                service=key[0],
                endpoint=key[1],
                state=transition.now,
                was=transition.was,
                failures=self._circuit(key).failures,
                reason=transition.reason,
            )
        )

    def _back(self, leases: list[Lease], why: str) -> None:
        """Given back unused: the circuit is as half open as before, and somebody else may try."""
        for lease in leases:
            log.warning("probe given back", service=lease.key[0], owner=lease.owner, why=why)
            state = self._circuit(lease.key).state
            self._tell(lease.key, Transition(state, state, f"probe given back: {why}"))

    # -- the door --------------------------------------------------------------------------------

    async def answer(self, request: Event) -> Event:
        """Leave to try, and what operators want."""
        if isinstance(request, AskProbe):
            return self._lend(request)
        if isinstance(request, ProbeDone):
            return self._probed(request)
        if isinstance(request, AskBreakers):
            return Breakers(circuits=self.snapshot())
        if isinstance(request, TripBreaker):
            key = (request.service, request.endpoint)
            self._changed(key, self._circuit(key).trip(self._now, "tripped by an operator"))
            self._wake(key)
            return Done(detail=f"{request.service} is open")
        if isinstance(request, ResetBreaker):
            return self._reset((request.service, request.endpoint))
        return Refused(why=f"breaker does not answer {type(request).__name__}", status=404)

    def _lend(self, request: AskProbe) -> ProbeAnswer:
        key = (request.service, request.endpoint)
        circuit = self._circuit(key)
        if request.call and request.call not in self._calls:
            return ProbeAnswer(granted=False, state=circuit.state, why="the call is over")
        if circuit.state == "closed":
            return ProbeAnswer(granted=True, state="closed")
        if circuit.half_opens_ns is not None:
            left_ms = max(0.0, (circuit.half_opens_ns - self._now) / 1e6)
            return ProbeAnswer(
                granted=False, state="open", why="the circuit is open", retry_ms=left_ms
            )
        lease = self._leases.lend(key, request.owner, request.inc, request.call, self._now)
        if lease is None:
            return ProbeAnswer(granted=False, state="half_open", why="another probe is under way")
        return ProbeAnswer(granted=True, state="half_open", lease=lease.id)

    def _probed(self, done: ProbeDone) -> Event:
        if (lease := self._leases.take_back(done.lease)) is None:
            return Refused(why=f"lease {done.lease!r} is not out", status=404)
        if done.outcome == "failed":
            self._failed(lease.key, done.error or "probe failed")
        elif done.outcome == "worked":
            self._worked(lease.key)
        else:
            self._back([lease], "unused")
        return Done(detail=done.outcome)

    def _reset(self, key: Key) -> Event:
        if key not in self._circuits:
            known = ", ".join(service for service, _ in sorted(self._circuits)) or "none"
            why = f"no circuit {' '.join(key).strip()!r}; there are: {known}"
            return Refused(why=why, status=404)
        self._changed(key, self._circuit(key).reset("reset by an operator"))
        self._wake(key)
        return Done(detail=f"{key[0]} is closed")

    def _state(self, key: Key) -> CircuitState:
        circuit, (reason, since_ns) = self._circuits[key], self._said.get(key, ("", 0))
        holder = self._leases.holder(key)
        return CircuitState(
            service=key[0],
            endpoint=key[1],
            state=circuit.state,
            failures=circuit.failures,
            reason=reason,
            since_ns=since_ns,
            half_opens_ns=circuit.half_opens_ns,
            probe=holder.owner if holder else "",
        )
