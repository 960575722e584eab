"""How the circuits of a service's endpoints stand goes in, which endpoint to ask comes out. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

State = Literal["closed", "open", "half_open"]


class Ladder:
    """Endpoints in order of preference. One that is open, or half open, is for probes alone."""

    def __init__(self, rungs: Sequence[str]) -> None:
        self.rungs = tuple(rungs)
        self._states: dict[str, State] = {}

    def told(self, rung: str, state: State) -> None:
        """Its circuit stands so now."""
        if rung in self.rungs:
            self._states[rung] = state

    def begin_anew(self, states: Mapping[str, State]) -> None:
        """The breaker was restarted, or we were: what it says is all there is; the rest is closed."""
        self._states = {rung: state for rung, state in states.items() if rung in self.rungs}

    def state(self, rung: str) -> State:
        return self._states.get(rung, "closed")

    def next(self, tried: Collection[str] = ()) -> str | None:
        """The first one that may be asked and was not tried yet; None: there is none left."""
        free = (rung for rung in self.rungs if rung not in tried and self.state(rung) == "closed")
        return next(free, None)
