"""A microphone and what the loudspeaker was given go in, the microphone less the linear echo comes out.

The partitioned-block frequency-domain Kalman filter: G. Enzner, P. Vary, "Frequency-domain adaptive
Kalman filter for acoustic echo control in hands-free telephones", Signal Processing 86 (2006);
F. Kuech, E. Mabande, G. Enzner, "State-space architecture of the partitioned-block-based acoustic
echo controller", ICASSP 2014. Its step size falls by itself while the caller speaks, so that it
neither diverges then nor takes anything from the caller's voice.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FRAME = 160
"""10 ms at 16 kHz; the transform spans two frames."""
SIZE = 2 * FRAME

Floats = NDArray[np.float64]
Spectra = NDArray[np.complex128]


class KalmanEcho:
    """Takes 10 ms frames, ±1 is full scale. `length_ms` of the echo path are modelled.

    `memory` (A in the papers) is how much of the path is still true one frame later; `smoothing`
    is that of the estimated power of all that is no echo.
    """

    def __init__(
        self, length_ms: int = 200, memory: float = 0.9995, smoothing: float = 0.5
    ) -> None:
        self._memory, self._smoothing = memory, smoothing
        self._parts = length_ms // 10
        self.reset()

    def reset(self) -> None:
        """Forget the path."""
        bins = FRAME + 1
        self._path: Spectra = np.zeros((self._parts, bins), np.complex128)
        self._doubt: Floats = np.ones((self._parts, bins))
        self._far: Spectra = np.zeros((self._parts, bins), np.complex128)
        self._far_power: Floats = np.zeros((self._parts, bins))
        self._other: Floats = np.full(bins, 1e-6)
        self._last: Floats = np.zeros(FRAME)

    def process(self, near: Floats, far: Floats) -> tuple[Floats, Floats]:
        """The next frame of both; what is left of `near`, and the echo that was taken off."""
        self._take(far)
        echo = np.fft.irfft(np.einsum("pk,pk->k", self._far, self._path), SIZE)[FRAME:]
        left = near - echo
        self._learn(np.fft.rfft(left, SIZE) * _HALF)
        return left, echo

    def _take(self, far: Floats) -> None:
        self._far = np.roll(self._far, 1, axis=0)
        self._far_power = np.roll(self._far_power, 1, axis=0)
        self._far[0] = np.fft.rfft(np.concatenate((self._last, far)))
        self._far_power[0] = np.abs(self._far[0]) ** 2
        self._last = far

    def _learn(self, error: Spectra) -> None:
        power = np.abs(error) ** 2
        self._other += (1 - self._smoothing) * (power - self._other)
        explained = np.einsum("pk,pk->k", self._far_power, self._doubt) / 2
        step = self._doubt / (explained + self._other + 1e-9)
        grown = np.fft.irfft(step * np.conj(self._far) * error, SIZE, axis=1)
        grown[:, FRAME:] = 0  # a partition is one frame long
        self._path += np.fft.rfft(grown, axis=1)
        forget = 1 - self._memory**2
        self._doubt *= self._memory**2 * (1 - step * self._far_power / 2)
        self._doubt += forget * np.abs(self._path) ** 2


_HALF = np.asarray(np.exp(-1j * np.pi * np.arange(FRAME + 1)))
"""Puts a frame into the second half of the transform, where the echo it is compared with stands."""
