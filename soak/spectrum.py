"""In comes sound at 16 kHz; out goes what of it lies between two frequencies. Pure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

RATE = 16_000
Sound = npt.NDArray[np.float64]


def band(sound: Sound, low_hz: float, high_hz: float) -> Sound:
    """As long as before, without anything below `low_hz` and above `high_hz` (of the whole: no ramps)."""
    spectrum, hz = np.fft.rfft(sound), np.fft.rfftfreq(len(sound), 1 / RATE)
    spectrum[(hz < low_hz) | (hz > high_hz)] = 0
    return np.asarray(np.fft.irfft(spectrum, len(sound)))
