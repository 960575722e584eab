"""Positions of the line's frames go in; take it, leave it, or ask for what is missing comes out. Pure."""

from __future__ import annotations

import math
from typing import Literal

RATE = 16_000
LEAD_MS = 50
"""Sound before the first sample wanted that a fresh resampler needs to be in tune: its filter is 3 ms."""
ASK_NS = 250_000_000
"""How long the line has to send again what is missing, before it is asked once more."""
ASKS = 6
"""How often it is asked: a question may be lost as frames are, and so may the answer."""
MUTE_NS = 100_000_000
"""The same for a line that has not answered before: it may be one that can't."""

Verdict = Literal["take", "leave", "ask"]


class Intake:
    """One channel of one line. `expected`: the line's next sample, in its own rate."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self._deadline_ns: int | None = None
        self._asks, self._left = ASKS, 0

    def judge(self, first: int, samples: int, again: bool, at_ns: int) -> Verdict:
        """What to do with samples [first, first + samples). `again`: they were asked for.

        While something is missing nothing behind it is taken: the line sends that again too. What
        the line has no longer, and what does not come in time, is given up.
        """
        if first + samples <= self.expected:
            return "leave"
        if first > self.expected and not again:
            if self._deadline_ns is None:
                self._left = self._asks
            elif at_ns < self._deadline_ns:
                return "leave"
            if self._left:
                self._left -= 1
                self._deadline_ns = at_ns + (ASK_NS if self._asks == ASKS else MUTE_NS)
                return "ask"
            self._asks = 1
        if again:
            self._asks = ASKS
        self.expected = first + samples
        self._deadline_ns = None
        return "take"


def line_position(position: int, rate: int) -> int:
    """Where the line must begin again so that 16 kHz sound can go on at `position`.

    A little earlier, for the resampler, and on a sample that both rates share.
    """
    if rate == RATE:
        return position
    shared = rate // math.gcd(rate, RATE)
    return max(0, position * rate // RATE - rate * LEAD_MS // 1000) // shared * shared
