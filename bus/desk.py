"""What an actor's threads share: its fence, what it is working on, and how it says it is."""

from __future__ import annotations

import threading

from bus.fence import Fence


class Desk:
    """What the control threads need to know of the actor, and may touch: all of it under `guard`."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.fence = Fence()
        self.busy: set[tuple[str, int]] = set()
        self.ready = False
        self.state = "starting"
        self.detail = ""

    def raise_fence(self, call: str, turn: int) -> bool:
        """Raise the fence; True when work of that call and turn, or an earlier one, is going on."""
        with self.guard:
            self.fence.raise_to(call, turn)
            return bool(self.busy) and any(c == call and t <= turn for c, t in self.busy)
