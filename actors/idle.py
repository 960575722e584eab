"""How long nobody has had the floor goes in; whether to ask, or to take leave, comes out. Pure."""

from __future__ import annotations

from typing import Literal

from actors.turn_state import Deadlines, Patience

Nudge = Literal["prompt", "leave"]


class Idle:
    """Counts the silence of a caller who owes the next word."""

    def __init__(self, patience: Patience, deadlines: Deadlines) -> None:
        self._patience, self._deadlines = patience, deadlines
        self._asked = 0

    def spoke(self) -> None:
        """He was understood: count the questions anew."""
        self._asked = 0

    def look(self, free: bool) -> Nudge | None:
        """`free`: nobody speaks, nothing is being answered. What is to be done about it now."""
        if not free or not self._patience.idle_ms or self._asked > self._patience.idle_prompts:
            self._deadlines.drop("idle")
            return None
        self._deadlines.expect_once("idle", self._patience.idle_ms)
        if not self._deadlines.due("idle"):
            return None
        self._asked += 1
        if self._asked <= self._patience.idle_prompts:
            return "prompt"
        return "leave" if self._patience.hang_up else None
