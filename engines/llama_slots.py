"""Calls come in, the slot of llama-server that each keeps comes out. Pure.

A slot holds the text of a conversation, so that a call that comes back to its own need not have it
read again.
"""

from __future__ import annotations


class Slots:
    """As many as the server has; 0: it has none, and nobody gets one."""

    def __init__(self, count: int = 0) -> None:
        self._count = count
        self._of: dict[str, int] = {}

    def resize(self, count: int) -> None:
        """The server may have been restarted with another number; who still fits stays."""
        self._count = count
        self._of = {call: slot for call, slot in self._of.items() if slot < count}

    def of(self, call: str) -> int | None:
        """This call's slot from now on. None: all are taken, the server may choose."""
        if not call:
            return None
        if call not in self._of:
            free = sorted(set(range(self._count)) - set(self._of.values()))
            if not free:
                return None
            self._of[call] = free[0]
        return self._of[call]

    def give_back(self, call: str) -> None:
        """The call is over."""
        self._of.pop(call, None)

    @property
    def taken(self) -> int:
        """How many calls have one."""
        return len(self._of)
