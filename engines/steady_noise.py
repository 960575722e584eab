"""Steady noise (hiss, hum) is taken out of a short sound. Pure; numpy alone.

Spectral subtraction (Boll, 1979) with over-subtraction and a floor (Berouti, Schwartz and Makhoul, 1979):
what the quietest frames have in common is noise, and is taken from all of them. Voices behind the
caller are not steady and stay.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FRAME, HOP = 512, 128
"""Samples at 16 kHz: 32 and 8 ms."""
QUIETEST, LEAST_QUIET = 0.15, 4
"""Share of the frames that are taken for noise alone, and how many at least."""
OVER, LEFT = 1.5, 0.15
"""So many times the noise's power is subtracted; of no amplitude is less than this left."""
_TAPER = np.sqrt(np.hanning(FRAME + 1)[:-1])
_OVERLAP = FRAME / HOP / 2
"""What the squared tapers of all frames add up to."""


def without_steady_noise(sound: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """As long as before; one of less than two frames stays as it is."""
    if len(sound) < 2 * FRAME:
        return sound.astype(np.float32)
    padded = np.pad(sound.astype(np.float64), FRAME)
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::HOP]
    bins = np.fft.rfft(frames * _TAPER, axis=1)
    power = np.abs(bins) ** 2
    whole = power[FRAME // HOP : -(FRAME // HOP)]  # the others are partly padding
    quiet = np.argsort(whole.sum(axis=1))[: max(LEAST_QUIET, int(len(whole) * QUIETEST))]
    noise = OVER * whole[quiet].mean(axis=0)
    gain = np.maximum(LEFT, np.sqrt(np.maximum(0, 1 - noise / np.maximum(power, 1e-12))))
    gain[1:-1] = (gain[:-2] + 2 * gain[1:-1] + gain[2:]) / 4  # no single frame sings
    made = np.zeros(len(padded))
    for at, frame in zip(
        range(0, len(padded), HOP), np.fft.irfft(bins * gain, FRAME, axis=1), strict=False
    ):
        made[at : at + FRAME] += frame * _TAPER
    return np.asarray(made[FRAME : FRAME + len(sound)] / _OVERLAP, np.float32)
