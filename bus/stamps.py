"""Sequence numbers for what one source says: an event goes in, its stamp comes out."""

from __future__ import annotations

import time

from schemas import Stamp


class Stamper:
    """Counts per topic from 0, for one incarnation of one source."""

    def __init__(self, source: str, inc: int | None = None) -> None:
        self.source = source
        self.inc = time.time_ns() if inc is None else inc
        self._next: dict[bytes, int] = {}

    def __call__(self, topic: bytes, at_ns: int) -> Stamp:
        seq = self._next.get(topic, 0)
        self._next[topic] = seq + 1
        return Stamp(source=self.source, inc=self.inc, seq=seq, at_ns=at_ns)

    def forget(self, call: str) -> None:
        """The call is over: so are its topics."""
        ending = b"\0" + call.encode()
        for topic in [topic for topic in self._next if topic.endswith(ending)]:
            del self._next[topic]
