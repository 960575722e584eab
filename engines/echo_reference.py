"""What the loudspeaker was given goes in, any stretch of it (between samples, too) comes out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
KEPT = 2 * RATE
"""Samples remembered: 2 s."""
HALF = 16
"""Samples each side of a position that an interpolated one is made of."""

Floats = NDArray[np.float64]


class Reference:
    """Positions count samples from the first one played; what was not (yet) played is silence."""

    def __init__(self) -> None:
        self._sound = np.zeros(0)
        self.end = 0

    def push(self, sound: Floats) -> None:
        """The next samples played."""
        self._sound = np.concatenate((self._sound, sound))[-KEPT:]
        self.end += len(sound)

    def read(self, position: float, count: int) -> Floats:
        """`count` samples from `position` on.

        Between samples: a windowed sinc, J. O. Smith, "Digital Audio Resampling Home Page", CCRMA.
        """
        whole = int(np.floor(position))
        fraction = position - whole
        if fraction == 0.0:
            return self._whole(whole, count)
        around = self._whole(whole - HALF + 1, count + 2 * HALF - 1)
        return np.convolve(around, _kernel(fraction), "valid")

    def _whole(self, first: int, count: int) -> Floats:
        out = np.zeros(count)
        begin = self.end - len(self._sound)
        low, high = max(first, begin), min(first + count, self.end)
        if low < high:
            out[low - first : high - first] = self._sound[low - begin : high - begin]
        return out


def _kernel(fraction: float) -> Floats:
    """Weights of HALF samples before and HALF behind, latest first as `convolve` wants them."""
    offsets = np.arange(-HALF + 1, HALF + 1) - fraction
    window = 0.5 + 0.5 * np.cos(np.pi * offsets / HALF)
    return np.asarray((np.sinc(offsets) * window)[::-1])
