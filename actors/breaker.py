"""breaker: failures and successes of engines and actors come in; circuit transitions go out."""

from __future__ import annotations

import structlog

from actors.circuit import Circuit, Transition
from bus.clock import Alarm
from bus.runtime import Emit, Runtime
from schemas import (
    ActorKilled,
    BreakerChanged,
    CancelStuck,
    EngineFailed,
    EngineWorked,
    Event,
)

log = structlog.get_logger()


class BreakerActor:
    """One circuit per service: `llm`, `tts`, `stt`, and `actor:<name>` for stuck or killed actors."""

    name = "breaker"
    hears = (EngineFailed, EngineWorked, CancelStuck, ActorKilled)

    def __init__(self, threshold: int = 3, reset_s: float = 30.0) -> None:
        self._threshold, self._reset_s = threshold, reset_s
        self._circuits: dict[str, Circuit] = {}
        self._timers: dict[str, Alarm] = {}
        self._runtime: Runtime | None = None

    def attach(self, runtime: Runtime) -> None:
        """Time-driven transitions are published without an event that causes them."""
        self._runtime = runtime

    async def load(self) -> None:
        """There is no engine here."""

    async def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()

    def gauges(self) -> dict[str, float]:
        """Circuits that are not closed."""
        return {"open_circuits": float(sum(c.state != "closed" for c in self._circuits.values()))}

    async def react(self, event: Event, emit: Emit) -> None:
        if isinstance(event, EngineFailed):
            self._failed(event.service, event.error, emit.at_ns)
        elif isinstance(event, CancelStuck):
            self._failed(f"actor:{event.actor}", f"stuck: no {event.phase}", emit.at_ns)
        elif isinstance(event, ActorKilled):
            self._failed(f"actor:{event.actor}", event.why, emit.at_ns)
        elif isinstance(event, EngineWorked):
            self._changed(event.service, self._circuit(event.service).worked())

    def _circuit(self, service: str) -> Circuit:
        return self._circuits.setdefault(service, Circuit(self._threshold, self._reset_s))

    def _failed(self, service: str, reason: str, at_ns: int) -> None:
        circuit = self._circuit(service)
        self._changed(service, circuit.failed(at_ns, reason))
        if circuit.half_opens_ns is not None:
            self._wake(service, circuit.half_opens_ns)

    def _wake(self, service: str, at_ns: int) -> None:
        assert self._runtime is not None
        if (timer := self._timers.pop(service, None)) is not None:
            timer.cancel()
        self._timers[service] = self._runtime.clock.call_at(at_ns, lambda: self._tell_time(service))

    def _tell_time(self, service: str) -> None:
        assert self._runtime is not None
        circuit = self._circuit(service)
        self._changed(service, circuit.tell_time(self._runtime.clock.now()))

    def _changed(self, service: str, transition: Transition | None) -> None:
        if transition is None or self._runtime is None:
            return
        log.warning("circuit", service=service, was=transition.was, now=transition.now)
        self._runtime.link.publish(
            BreakerChanged(
                service=service,
                state=transition.now,
                was=transition.was,
                failures=self._circuit(service).failures,
                reason=transition.reason,
            )
        )
