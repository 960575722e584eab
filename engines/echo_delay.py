"""Microphone and loudspeaker frames go in, how late the echo is (and how fast that drifts) comes out.

Generalised cross-correlation with phase transform: C. Knapp, G. Carter, "The generalized correlation
method for estimation of time delay", IEEE Trans. ASSP 24 (1976). Two sound cards have two clocks:
the delay is followed along a straight line, whose slope is their drift.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
WINDOW = RATE // 2
"""Microphone samples correlated at a time: 0.5 s."""
EARLIEST = RATE // 50
LONGEST = RATE // 2
"""Delays are looked for from -20 ms (the two streams are paired that roughly) to 500 ms."""
EVERY = RATE // 10
"""An estimate each 100 ms."""
SIZE = 1 << (WINDOW + LONGEST).bit_length()
LOUD = 10 ** (-55 / 20)
"""RMS (±1 is full scale) of 10 ms in which something was played."""
COVERED = 0.3
"""How much of a window must be loud; the edge of a word alone correlates with anything."""
BAND_HZ = (150.0, 7000.0)
SHARP = 11.0
"""How many standard deviations the peak must rise above the rest of the correlation."""
NEAR_ENOUGH = 32.0
"""Samples (2 ms) between an estimate and the line that still confirm the line."""
AGREE = 3
"""Estimates in a row that must agree with each other to begin a new line."""
DOUBT = WINDOW // 2 + 3 * EVERY
"""Samples after which an estimate that nothing confirmed is forgotten: 300 ms after it was made."""
MEMORY = 120
"""Estimates the line is drawn through: 12 s of speech."""
FASTEST = 3e-4
"""Drift never exceeds 300 ppm: quartz is within ±100 ppm a side."""
STEADY_S = 1.25
"""A slope needs estimates that span as much: they are good to a tenth of a sample."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Seen:
    """One estimate: at microphone sample `at` the echo was `delay` samples late."""

    at: int
    delay: float


def correlate(near: Floats, far: Floats) -> float | None:
    """Samples (-EARLIEST to LONGEST) by which `near` lags behind `far`; None without a clear peak.

    `far` ends with `near` and is LONGEST samples longer.
    """
    one, two = np.fft.rfft(near * _TAPER, SIZE), np.fft.rfft(far, SIZE)
    cross = one * np.conj(two)
    phase = np.where(_IN_BAND, cross / (np.abs(cross) + 1e-12), 0)
    lags = np.fft.irfft(phase, SIZE)
    # `far` began LONGEST samples earlier: a delay of d stands at d - LONGEST
    span = np.concatenate((lags[-LONGEST - EARLIEST :], lags[:1]))
    peak = int(np.argmax(span))
    if span[peak] < SHARP * float(np.std(span)) or not 0 < peak < len(span) - 1:
        return None
    return peak - EARLIEST + _summit(span[peak - 1 : peak + 2])


_TAPER = np.hanning(WINDOW)
"""Without it the ends of the two windows, cut at the same time, correlate at no delay."""
_IN_BAND = (
    np.abs(np.fft.rfftfreq(SIZE, 1 / RATE) - sum(BAND_HZ) / 2) < (BAND_HZ[1] - BAND_HZ[0]) / 2
)


def _summit(three: Floats) -> float:
    """Where between -0.5 and 0.5 a parabola through three points is highest."""
    bend = three[0] - 2 * three[1] + three[2]
    return float(0.5 * (three[0] - three[2]) / bend) if bend else 0.0


class DelayLine:
    """The straight line through recent estimates; a jump begins a new one. Pure."""

    def __init__(self) -> None:
        self._seen: deque[Seen] = deque(maxlen=MEMORY)
        self._others: deque[Seen] = deque(maxlen=AGREE)
        self._origin, self._level, self.drift = 0, 0.0, 0.0
        self.jumps = 0

    @property
    def known(self) -> bool:
        """Whether there is a line."""
        return bool(self._seen)

    def doubtful(self, sample: int) -> bool:
        """Whether an estimate of the last moment was off the line: a jump has perhaps begun."""
        return bool(self._others) and sample - self._others[-1].at < DOUBT

    def at(self, sample: int) -> float:
        """The delay, in samples, at a sample of the microphone."""
        return self._level + self.drift * (sample - self._origin)

    def take(self, seen: Seen) -> None:
        """One more estimate."""
        if self.known and abs(seen.delay - self.at(seen.at)) <= NEAR_ENOUGH:
            self._others.clear()
            self._seen.append(seen)
        else:
            self._others.append(seen)
            if not self._agreed():
                return
            self._jump()
        self._draw()

    def _agreed(self) -> bool:
        delays = [other.delay for other in self._others]
        return len(delays) == AGREE and max(delays) - min(delays) <= NEAR_ENOUGH / 4

    def _jump(self) -> None:
        """A device was changed or samples were lost: the clocks, and so the slope, may be the same."""
        self.jumps += self.known
        self._seen.clear()
        self._seen.extend(self._others)
        self._others.clear()

    def _draw(self) -> None:
        ats = np.array([seen.at for seen in self._seen], np.float64)
        delays = np.array([seen.delay for seen in self._seen])
        self._origin = int(np.mean(ats))
        ats -= self._origin
        if np.ptp(ats) >= STEADY_S * RATE:
            off = delays - np.mean(delays)
            slope = float(np.dot(ats, off) / np.dot(ats, ats))
            self.drift = float(np.clip(slope, -FASTEST, FASTEST))
        self._level = float(np.median(delays - self.drift * ats))


class EchoDelay:
    """Frames of both sides in step go in; `line` holds the delay once it is known."""

    def __init__(self) -> None:
        self.line = DelayLine()
        self._near = np.zeros(WINDOW)
        self._far = np.zeros(WINDOW + LONGEST)
        self._at = 0
        self._due = EVERY

    def push(self, near: Floats, far: Floats) -> None:
        """The next frame of the microphone, and the samples of the same numbers that were played."""
        self._near = np.concatenate((self._near[len(near) :], near))
        self._far = np.concatenate((self._far[len(far) :], far))
        self._at += len(near)
        if self._at >= self._due:
            self._due += EVERY
            self._estimate()

    def _estimate(self) -> None:
        if not _played(self._far):
            return
        lag = correlate(self._near, self._far)
        if lag is None:
            return
        begin = max(0, LONGEST - max(0, round(lag)))
        if _played(self._far[begin : begin + WINDOW]):
            self.line.take(Seen(self._at - WINDOW // 2, lag))


def _played(sound: Floats) -> bool:
    frames = sound.reshape(-1, RATE // 100)
    return float(np.mean(np.mean(frames**2, axis=1) > LOUD**2)) >= COVERED
