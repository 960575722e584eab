"""Who may try a circuit that is half open: questions go in, one lease at a time comes out. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Key = tuple[str, str]
"""Service and endpoint."""
LONGEST_NS = 60_000_000_000
"""A probe that takes longer has been forgotten."""


@dataclass(frozen=True)
class Lease:
    """Lent to incarnation `inc` of actor `owner`, on behalf of `call`."""

    id: str
    key: Key
    owner: str
    inc: int
    call: str
    since_ns: int


class Leases:
    """At most one for each circuit, in the whole fleet."""

    def __init__(self) -> None:
        self._out: dict[Key, Lease] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._out)

    def lend(self, key: Key, owner: str, inc: int, call: str, at_ns: int) -> Lease | None:
        """A lease, or None while another one is out."""
        if key in self._out:
            return None
        self._count += 1
        lease = Lease(f"{at_ns:x}-{self._count}", key, owner, inc, call, at_ns)
        self._out[key] = lease
        return lease

    def take_back(self, lease: str) -> Lease | None:
        """Which one it was; None when it is not out (any more)."""
        return next(iter(self._gone(lambda out: out.id == lease)), None)

    def holder(self, key: Key) -> Lease | None:
        """Who has it."""
        return self._out.get(key)

    def owner_gone(self, owner: str, but_inc: int | None = None) -> list[Lease]:
        """The owner died, or lives on in another incarnation: what it held is back."""
        return self._gone(lambda out: out.owner == owner and out.inc != but_inc)

    def call_over(self, call: str) -> list[Lease]:
        """A call that has ended holds nothing."""
        return self._gone(lambda out: bool(call) and out.call == call)

    def circuit_changed(self, key: Key) -> list[Lease]:
        """A circuit that is not half open any more has nothing to lend."""
        return self._gone(lambda out: out.key == key)

    def overdue(self, at_ns: int) -> list[Lease]:
        """Forgotten ones."""
        return self._gone(lambda out: at_ns - out.since_ns >= LONGEST_NS)

    def _gone(self, which: Callable[[Lease], bool]) -> list[Lease]:
        gone = [lease for lease in self._out.values() if which(lease)]
        for lease in gone:
            del self._out[lease.key]
        return gone
