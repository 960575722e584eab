"""Sequence numbers go in, the number of missed messages comes out. Pure."""

from __future__ import annotations

from schemas import Stamp


class Gaps:
    """Watches `seq` per (source, topic). A new incarnation or a first sight starts anew."""

    def __init__(self) -> None:
        self._next: dict[tuple[str, bytes], tuple[int, int]] = {}

    def missed(self, topic: bytes, stamp: Stamp) -> int:
        """How many messages were lost before this one; 0 in order, also for an old duplicate."""
        key = (stamp.source, topic)
        inc, expected = self._next.get(key, (stamp.inc, stamp.seq))
        if inc != stamp.inc:
            expected = stamp.seq
        if stamp.seq < expected:
            return 0
        self._next[key] = (stamp.inc, stamp.seq + 1)
        return stamp.seq - expected

    def forget(self, call: str) -> None:
        """The call is over: so are its topics."""
        ending = b"\0" + call.encode()
        for key in [key for key in self._next if key[1].endswith(ending)]:
            del self._next[key]

    def __len__(self) -> int:
        return len(self._next)
