"""A circuit breaker: failures, successes and the time go in, transitions come out. Pure.

After M. Nygard, "Release It!" (2007): closed, open after `threshold` failures in a row, half open
after `reset_ns`, closed again by a success there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["closed", "open", "half_open"]


@dataclass(frozen=True)
class Transition:
    """The circuit went from `was` to `now`."""

    was: State
    now: State
    reason: str


class Circuit:
    """The circuit of a service at an endpoint. `threshold` is at least 1, `reset_s` at least 1.0 s."""

    def __init__(self, threshold: int = 3, reset_s: float = 30.0) -> None:
        self._threshold = max(1, threshold)
        self._reset_ns = int(max(1.0, reset_s) * 1e9)
        self.state: State = "closed"
        self.failures = 0
        self._opened_ns = 0

    @property
    def half_opens_ns(self) -> int | None:
        """When an open circuit will let a probe through."""
        return self._opened_ns + self._reset_ns if self.state == "open" else None

    def tell_time(self, at_ns: int) -> Transition | None:
        """The time-driven transition, if it is due."""
        if self.half_opens_ns is not None and at_ns >= self.half_opens_ns:
            return self._go("half_open", "reset timeout")
        return None

    def failed(self, at_ns: int, reason: str) -> Transition | None:
        """A request failed."""
        self.failures += 1
        if self.state == "open" or (self.state == "closed" and self.failures < self._threshold):
            return None
        self._opened_ns = at_ns
        return self._go("open", reason)

    def worked(self) -> Transition | None:
        """A request succeeded; in an open circuit that is a late answer and changes nothing."""
        if self.state == "open":
            return None
        self.failures = 0
        return None if self.state == "closed" else self._go("closed", "probe succeeded")

    def trip(self, at_ns: int, reason: str) -> Transition | None:
        """Open it by hand; the reset timeout begins anew."""
        self._opened_ns = at_ns
        return None if self.state == "open" else self._go("open", reason)

    def reset(self, reason: str) -> Transition | None:
        """Close it by hand."""
        self.failures = 0
        return None if self.state == "closed" else self._go("closed", reason)

    def _go(self, state: State, reason: str) -> Transition:
        transition = Transition(self.state, state, reason)
        self.state = state
        return transition
