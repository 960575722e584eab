"""Windows of sound that overlap go in, one sound without a click comes out, in order. Pure.

A window begins before what is new in it, so that it knows what came before; what it makes of that again is
never quite the same. So the last samples that were made are kept back, and blended into the next window.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Sound = npt.NDArray[np.float32]
FADE = 480
"""Samples: 20 ms at 24 kHz."""


class Seams:
    """One synthesis. `made`: samples that came out."""

    def __init__(self) -> None:
        self.made = 0
        self._tail: Sound = np.zeros(0, np.float32)

    def join(self, window: Sound, start: int, last: bool) -> Sound:
        """What is new in a window from sample `start` on; without its last FADE samples, unless `last`."""
        new = blended(self._tail, np.array(window[self.made - start :], np.float32))
        most = len(new) if last else max(0, len(new) - FADE)
        self._tail = new[most:]
        self.made += most
        return new[:most]


def blended(tail: Sound, new: Sound) -> Sound:
    """`new` whose first samples are those of `tail` made again: one fades into the other (equal gain)."""
    both = min(len(tail), len(new))
    if both:
        rise = np.linspace(0, 1, both, dtype=np.float32)
        new[:both] = tail[:both] * (1 - rise) + new[:both] * rise
    return new
