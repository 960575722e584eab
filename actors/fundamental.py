"""Sound of a narrow line goes in, with the voice's pitch put back for the detector it comes out. Pure.

A telephone passes 300 to 3400 Hz, and silero VAD misses 22 of 160 things said on it; half of the rest it
notices after 280 ms instead of 90. The pitch is still there as the rhythm of what is left: the rectified
sound, its mean over 3 ms less that over 12 ms, is a band around 80 to 280 Hz. With it two were missed
and the median was 133 ms. Of 80 things in full band none is missed with or without it, 100 instead of
92 ms late; of 100 noises 38 instead of 35 are taken for speech. It takes 11 µs per 20 ms.

The detector is also a little deaf to quiet voices, narrow ones above all: it gets everything twice as
loud. So it finds 73 instead of 65 % of the voice of backchannels over a telephone (133 of them), 84 instead
of 82 % of that of interruptions (227); of 209 noises 23 instead of 21 are taken for speech.
Recognisers get the sound as it is.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

BLOCK = 16
"""Samples of 16 kHz in one step of the envelope: 1 ms."""
SHORT, LONG = 3, 12
PAST = LONG + 1
SHARE = 1.0
GAIN = 2.0
"""6 dB."""
AT_ONCE = 64
"""Blocks that are computed as one product."""
Matrix = npt.NDArray[np.float32]


class Fundamental:
    """One channel. What comes out is as long as what went in, and may trail it by 15 samples."""

    def __init__(self) -> None:
        self._rest = b""
        self._past: Matrix = np.zeros(PAST, np.float32)

    def push(self, pcm: bytes) -> bytes:
        """Mono int16 PCM, 16 kHz, of any length; what comes out is GAIN times as loud."""
        pcm = self._rest + pcm
        whole = len(pcm) // (2 * BLOCK) * 2 * BLOCK
        self._rest = pcm[whole:]
        step = 2 * BLOCK * AT_ONCE
        return b"".join(self._some(pcm[at : min(at + step, whole)]) for at in range(0, whole, step))

    def _some(self, pcm: bytes) -> bytes:
        sound = np.frombuffer(pcm, np.int16).astype(np.float32)
        envelope = np.abs(sound).reshape(-1, BLOCK) @ MEAN
        known = np.concatenate([self._past, envelope])
        self._past = known[-PAST:]
        sound += _ways(len(envelope)) @ known
        sound *= GAIN
        np.minimum(sound, 32767, out=sound)  # np.clip takes three times as long
        np.maximum(sound, -32768, out=sound)
        return sound.astype(np.int16).tobytes()


MEAN: Matrix = np.full(BLOCK, 1 / BLOCK, np.float32)


@lru_cache(maxsize=AT_ONCE)
def _ways(blocks: int) -> Matrix:
    """From the envelope (PAST values before it first) to the band, one value a sample.

    Each block's band is what was said above; between two blocks it is interpolated.
    """
    band = np.zeros((blocks + 1, PAST + blocks), np.float32)
    for block in range(blocks + 1):
        end = PAST + block
        band[block, end - SHORT : end] += SHARE / SHORT
        band[block, end - LONG : end] -= SHARE / LONG
    share = np.tile(np.arange(1, BLOCK + 1, dtype=np.float32) / BLOCK, blocks)[:, None]
    before = np.repeat(np.arange(blocks), BLOCK)
    return np.asarray(band[before] * (1 - share) + band[before + 1] * share)
