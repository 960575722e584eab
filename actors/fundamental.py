"""Sound of a narrow line goes in, with the voice's pitch put back for the detector it comes out. Pure.

A telephone passes 300 to 3400 Hz, and silero VAD misses 22 of 160 things said on it; half of the rest it
notices after 280 ms instead of 90. The pitch is still there as the rhythm of what is left: the rectified
sound, its mean over 3 ms less that over 12 ms, is a band around 80 to 280 Hz. With it two were missed
and the median was 133 ms. Of 80 things in full band none is missed with or without it, 100 instead of
92 ms late; of 100 noises 38 instead of 35 are taken for speech. It takes 29 µs per 20 ms.
Recognisers get the sound as it is.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BLOCK = 16
"""Samples of 16 kHz in one step of the envelope: 1 ms."""
SHORT, LONG = 3, 12
SHARE = 1.0
Envelope = npt.NDArray[np.float64]


class Fundamental:
    """One channel. What comes out is as long as what went in, and may trail it by 15 samples."""

    def __init__(self) -> None:
        self._rest = b""
        self._past: Envelope = np.zeros(LONG)
        self._last = 0.0

    def push(self, pcm: bytes) -> bytes:
        """Mono int16 PCM, 16 kHz, of any length."""
        pcm = self._rest + pcm
        whole = len(pcm) // (2 * BLOCK) * 2 * BLOCK
        self._rest = pcm[whole:]
        if not whole:
            return b""
        sound = np.frombuffer(pcm[:whole], np.int16)
        out = sound + SHARE * self._pitch(np.abs(sound.reshape(-1, BLOCK)).mean(axis=1))
        return np.asarray(np.clip(np.rint(out), -32768, 32767), np.int16).tobytes()

    def _pitch(self, envelope: Envelope) -> Envelope:
        """The band of the envelope, one value a sample."""
        sums = np.concatenate([[0.0], np.cumsum(np.concatenate([self._past, envelope]))])
        ends = np.arange(LONG, LONG + len(envelope)) + 1
        band = (sums[ends] - sums[ends - SHORT]) / SHORT - (sums[ends] - sums[ends - LONG]) / LONG
        self._past = np.concatenate([self._past, envelope])[-LONG:]
        knots = np.concatenate([[self._last], band])
        self._last = float(band[-1])
        at = np.arange(1, len(envelope) * BLOCK + 1) / BLOCK
        return np.asarray(np.interp(at, np.arange(len(knots)), knots))
