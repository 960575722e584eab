"""Sound of a narrow line goes in, with the voice's pitch put back for the detector it comes out. Pure.

A telephone passes 300 to 3400 Hz, and silero VAD misses 22 of 160 things said on it; half of the rest it
notices after 280 ms instead of 90. The pitch is still there as the rhythm of what is left: the rectified
sound, its mean over 3 ms less that over 12 ms, is a band around 80 to 280 Hz. With it two were missed
and the median was 133 ms. Of 80 things in full band none is missed with or without it, 100 instead of
92 ms late; of 100 noises 38 instead of 35 are taken for speech.
Of one window it takes 50 µs, of eight at once 7 each.

The detector is also a little deaf to quiet voices, narrow ones above all: it gets everything twice as
loud. So it finds 73 instead of 65 % of the voice of backchannels over a telephone (133 of them), 84 instead
of 82 % of that of interruptions (227); of 209 noises 23 instead of 21 are taken for speech.
Recognisers get the sound as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

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
"""Blocks that are computed at once."""
Matrix = npt.NDArray[np.float32]
Sums = npt.NDArray[np.float64]
"""Of whole numbers: exact, in whatever order they are added."""
UPWARD = np.arange(1, BLOCK + 1, dtype=np.float32) / BLOCK
"""Between two blocks the band is interpolated."""


class Fundamental:
    """One channel. What comes out is as long as what went in, and may trail it by 15 samples."""

    def __init__(self) -> None:
        self._rest = b""
        self.past: Sums = np.zeros(PAST)

    def push(self, pcm: bytes) -> bytes:
        """Mono int16 PCM, 16 kHz, of any length; what comes out is GAIN times as loud."""
        pcm = self._rest + pcm
        whole = len(pcm) // (2 * BLOCK) * 2 * BLOCK
        self._rest = pcm[whole:]
        step = 2 * BLOCK * AT_ONCE
        return b"".join(self._some(pcm[at : min(at + step, whole)]) for at in range(0, whole, step))

    def _some(self, pcm: bytes) -> bytes:
        sound = np.frombuffer(pcm, np.int16).astype(np.float32)
        return restored([self], sound[None]).astype(np.int16).tobytes()


def restored(channels: Sequence[Fundamental], sound: Matrix) -> Matrix:
    """A row of whole blocks for each channel, as numbers of 16 bits; changed in place.

    No row's result depends on the others, to the last bit: there is no product of matrices in it.
    """
    blocks = sound.reshape(len(channels), -1, BLOCK)
    known = np.zeros((len(channels), 1 + PAST + blocks.shape[1]))
    envelope = known[:, 1:]
    np.abs(blocks).sum(axis=2, out=envelope[:, PAST:])
    for row, channel in enumerate(channels):
        envelope[row, :PAST] = channel.past
        channel.past = envelope[row, -PAST:].copy()
    sums = known.cumsum(axis=1)  # before each block of the envelope
    short = (sums[:, PAST:] - sums[:, PAST - SHORT : -SHORT]) * (SHARE / SHORT / BLOCK)
    long = (sums[:, PAST:] - sums[:, PAST - LONG : -LONG]) * (SHARE / LONG / BLOCK)
    band = (short - long).astype(np.float32)[:, :, None]
    blocks += band[:, :-1] + (band[:, 1:] - band[:, :-1]) * UPWARD
    sound *= GAIN
    np.minimum(sound, 32767, out=sound)  # np.clip takes three times as long
    np.maximum(sound, -32768, out=sound)
    return np.trunc(sound, out=sound)
