"""The fence: turns that were cancelled go in, whether an event may still pass comes out. Pure."""

from __future__ import annotations

from schemas import Event, Report

REMEMBERED_CALLS = 4096


class Fence:
    """The highest cancelled turn of each call. Turn 0 is bound to no turn and always passes,

    and so does a Report about a turn.
    """

    def __init__(self) -> None:
        self._highest: dict[str, int] = {}

    def raise_to(self, call: str, turn: int) -> bool:
        """Cancel `turn` and all before it; False when that was so already."""
        if turn <= self._highest.get(call, 0):
            return False
        self._highest.pop(call, None)  # the latest is the last
        self._highest[call] = turn
        if len(self._highest) > REMEMBERED_CALLS:
            del self._highest[next(iter(self._highest))]
        return True

    def passes(self, event: Event) -> bool:
        """Whether `event` is bound to no cancelled turn."""
        if event.turn == 0 or isinstance(event, Report):
            return True
        return event.turn > self._highest.get(event.call, 0)

    def height(self, call: str) -> int:
        """The highest cancelled turn of `call`; 0 when none was."""
        return self._highest.get(call, 0)

    def merge(self, fences: dict[str, int]) -> None:
        """Take over what another knows; a fence only ever rises."""
        for call, turn in fences.items():
            self.raise_to(call, turn)

    def snapshot(self) -> dict[str, int]:
        """All fences, to be handed to a newcomer."""
        return dict(self._highest)
