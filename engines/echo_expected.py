"""How much echo is going to be left goes out, frame by frame; the echo taken off and the rest come in."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NOTHING_DBFS = -100.0


def decibels(power: float) -> float:
    """Of a mean square, ±1 is full scale; -100 at least."""
    return float(10 * np.log10(power + 1e-10))


class Smooth:
    """A power, averaged over about 25 ms."""

    def __init__(self, share: float = 0.4) -> None:
        self._share, self.value = share, 0.0

    def take(self, power: float) -> float:
        """One more frame of 10 ms."""
        self.value += self._share * (power - self.value)
        return self.value


class Expected:
    """The ratio of rest to echo, learnt: the median of the last 4 s in which the agent was heard.

    Loud frames weigh more: there a distorting loudspeaker leaves most. A median, so that a caller
    who speaks meanwhile does not count as echo. 0 dB until `ENOUGH` frames are known.
    """

    KEPT, ENOUGH, EVERY = 400, 100, 10
    FALL_DB = 0.6
    """Per frame of 10 ms: slower than the tail of a room with an RT60 of 0.6 s (1 dB)."""
    AUDIBLE_DBFS = -65.0
    NOISE_FRAMES = 200

    def __init__(self) -> None:
        self._ratios: deque[tuple[float, float]] = deque(maxlen=self.KEPT)
        self._noise: deque[float] = deque(maxlen=self.NOISE_FRAMES)
        self._rest = Smooth()
        self._echo_dbfs = NOTHING_DBFS
        self.frames = 0
        self.ratio_db = 0.0

    @property
    def known(self) -> bool:
        """Whether enough was heard to expect anything."""
        return self.frames >= self.ENOUGH

    @property
    def audible(self) -> bool:
        """Whether there is an echo, or its tail, at all."""
        return self._echo_dbfs > self.AUDIBLE_DBFS

    @property
    def dbfs(self) -> float:
        """The level of echo that is going to be left."""
        return max(NOTHING_DBFS, self._echo_dbfs + self.ratio_db)

    def over_db(self, left: Floats, echo: Floats) -> float:
        """The next frame: how far what is left lies above what was to be expected."""
        rest = self._rest.take(float(np.mean(left**2)))
        self._echo_dbfs = max(
            self._echo_dbfs - self.FALL_DB, decibels(float(np.mean(echo**2))), NOTHING_DBFS
        )
        self._noise.append(rest)
        if self.audible:
            self._learn(decibels(rest) - self._echo_dbfs)
        return decibels(rest) - decibels(10 ** (self.dbfs / 10) + min(self._noise))

    def _learn(self, ratio_db: float) -> None:
        self._ratios.append((ratio_db, 10 ** (self._echo_dbfs / 10)))
        self.frames += 1
        if self.frames % self.EVERY == 0 and len(self._ratios) >= self.ENOUGH:
            self.ratio_db = _weighted_median(np.array(self._ratios))


def _weighted_median(pairs: Floats) -> float:
    """Of the first column, weighed by the second."""
    order = np.argsort(pairs[:, 0])
    weights = np.cumsum(pairs[order, 1])
    return float(pairs[order[np.searchsorted(weights, weights[-1] / 2)], 0])
