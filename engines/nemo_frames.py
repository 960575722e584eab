"""Sound of an utterance goes in, in any packets; what a NeMo model takes in a step comes out. Pure.

Mel frame i is centred on sample 160·i of the utterance and needs 256 samples on either side (half of the
model's FFT); encoder frame j needs mel frames up to 8·j. A step takes a chunk of `ahead` + 1 encoder
frames; the first chunk is 7 mel frames shorter. In front of a chunk the model wants 9 mel frames that it
has had already, and these, cut from sound, want 3 more: so live frames are those of the whole utterance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Sound = npt.NDArray[np.float32]
RATE = 16_000
HOP = 160
HALF = 256
"""Samples after its centre that a mel frame needs."""
SUBSAMPLING = 8
BEFORE = 9
"""Mel frames given again in front of a chunk, for the convolutions of the subsampling."""
CONTEXT = 3
"""Mel frames of sound in front of these, to be thrown away: half an FFT and one sample of pre-emphasis."""


@dataclass(frozen=True)
class Window:
    """`sound`: float32 at 16 kHz; its first CONTEXT mel frames are thrown away, the next `frames` wanted.

    `drop`: encoder frames at the beginning of these that were there before. `last`: nothing follows.
    """

    sound: Sound
    frames: int
    drop: int
    last: bool


class Cutter:
    """One utterance. `ahead`: encoder frames of 80 ms that a frame may look ahead, at most."""

    def __init__(self, ahead: int) -> None:
        self._chunk = SUBSAMPLING * (ahead + 1)
        self._had = 0
        self._kept = bytearray()
        self._first = 0
        self.closed = False

    @property
    def end(self) -> int:
        """Samples so far."""
        return self._first + len(self._kept) // 2

    @property
    def given(self) -> int:
        """Samples, about, that windows were cut for."""
        return self._had * HOP

    def push(self, pcm: bytes) -> None:
        """The next sound: mono int16 PCM at 16 kHz."""
        self._kept += pcm

    def close(self, silence: int) -> None:
        """It ends here, with so many samples of silence: without any, the last word would be lost."""
        self._kept += bytes(2 * silence)
        self.closed = True

    def fork(self) -> Cutter:
        """Another one that stands where this one does."""
        other = Cutter(self._chunk // SUBSAMPLING - 1)
        other._had, other._first, other.closed = self._had, self._first, self.closed
        other._kept = bytearray(self._kept)
        return other

    def next(self) -> Window | None:
        """What the next step needs; None while it is not there, or when all was given."""
        to = self._had + self._chunk - (SUBSAMPLING - 1 if self._had == 0 else 0)
        if self.closed:
            whole = self.end // HOP
            if self._had >= whole:
                return None
            last = to >= whole
            to = min(to, whole)
        elif self._needs(to) > self.end:
            return None
        else:
            last = False
        begin = max(0, self._had - BEFORE)
        window = Window(
            self._cut((begin - CONTEXT) * HOP, self._needs(to)),
            frames=to - begin,
            drop=-(-(self._had - begin) // SUBSAMPLING),
            last=last,
        )
        self._had = to
        self._forget((to - BEFORE - CONTEXT) * HOP)
        return window

    @staticmethod
    def _needs(frames: int) -> int:
        return (frames - 1) * HOP + HALF

    def _cut(self, first: int, end: int) -> Sound:
        """Samples [first, end); silence where there are none."""
        kept = np.frombuffer(self._kept, "<i2")[max(0, first - self._first) : end - self._first]
        sound = np.zeros(end - first, np.float32)
        at = max(0, -first)
        sound[at : at + len(kept)] = kept / np.float32(32768)
        return sound

    def _forget(self, to: int) -> None:
        if to > self._first:
            del self._kept[: 2 * (to - self._first)]
            self._first = to
