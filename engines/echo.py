"""The whole canceller of a local line: microphone and loudspeaker frames in, the caller alone comes out.

Delay and drift are found (echo_delay), the reference is shifted accordingly (echo_reference), the
linear echo is subtracted (echo_kalman: takes nothing from the caller). What is left is compared
with the echo to be expected (echo_expected). Above it, the caller speaks: he passes as he is.
Otherwise there is nothing but echo: WebRTC's suppressor (echo_webrtc) takes the rest of it.
docs/local-audio.md has the picture and the figures.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.echo_delay import EchoDelay
from engines.echo_expected import Expected, decibels
from engines.echo_kalman import KalmanEcho
from engines.echo_reference import Reference
from engines.protocols import EchoCanceller, EchoFigures

RATE = 16_000
FRAME = RATE // 100
FULL_SCALE = 32768.0
LEAD = RATE // 200
"""The reference is 5 ms early, so that an echo path is never asked to look into the future."""
FARTHEST = RATE * 4 // 10
"""Samples (400 ms) the two sides may run apart before they are paired anew."""
TAIL_FRAMES = 80
"""Frames after the loudspeaker's last sound in which its echo may still be heard: 800 ms."""
SILENT = 10 ** (-60 / 20)
SLEW = 0.05
"""Samples per frame the reference is moved at most: 300 ppm, and no step that can be heard."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tuning:
    """Lengths in ms, levels in dB.

    `margin_db`: how far above the echo to be expected the caller must be. `sure_ms` of it, within
    `window_ms`, let him through; he stays for `hold_ms`. The output is `late_ms` late, so that his
    first syllable is let through as well. `settle_ms`: how much of the agent must have been heard
    before WebRTC's output is trusted; until then there is silence while the agent speaks.
    """

    path_ms: int = 200
    margin_db: float = 12.0
    sure_ms: int = 50
    window_ms: int = 80
    hold_ms: int = 350
    late_ms: int = 70
    settle_ms: int = 10000


class LocalEcho:
    """An EchoCanceller whose two sides need not be in step: 0 to 500 ms and 300 ppm apart.

    `play` what was given to the loudspeaker as it is given, `process` what the microphone heard.
    """

    def __init__(self, suppressor: EchoCanceller, tuning: Tuning | None = None) -> None:
        """`suppressor`: what takes the rest of the echo while the caller is silent (WebrtcEcho)."""
        self._tuning = tuning or Tuning()
        self._suppressor = suppressor
        self._kalman = KalmanEcho(self._tuning.path_ms)
        self.reset()

    def reset(self) -> None:
        """Forget the room and the devices."""
        self._reference = Reference()
        self._delay = EchoDelay()
        self._at = 0
        self._paired = False
        self._shift: float | None = None
        self._jumps = 0
        self._erle_db = 0.0
        self._sounding = 0
        nothing = np.zeros(FRAME)
        self._line = deque([(nothing, nothing)] * (self._tuning.late_ms // 10))
        self._pass = 1.0
        self._relearn()

    def _relearn(self) -> None:
        self._kalman.reset()
        self._suppressor.reset()
        self._expected = Expected()
        self._over: deque[bool] = deque(maxlen=self._tuning.window_ms // 10)
        self._held = 0

    def play(self, pcm: bytes) -> None:
        """The next samples for the loudspeaker, mono int16 at 16 kHz."""
        self._reference.push(np.frombuffer(pcm, np.int16) / FULL_SCALE)

    def process(self, near: bytes) -> bytes:
        """The microphone's next 10 ms without the loudspeaker in them."""
        sound = np.frombuffer(near, np.int16) / FULL_SCALE
        self._pair()
        self._delay.push(sound, self._reference.read(self._at, FRAME))
        far = self._reference.read(self._at - self._shifted() + LEAD, FRAME)
        self._sounding = max(self._sounding - 1, TAIL_FRAMES if np.max(abs(far)) > SILENT else 0)
        quiet = self._suppressor.process(near, _pcm(far))
        suppressed = np.frombuffer(quiet, np.int16) / FULL_SCALE * self._trusted()
        left = sound if self._shift is None else self._cancelled(sound, far)
        self._at += FRAME
        self._line.append((left, suppressed))
        return _pcm(self._mixed(*self._line.popleft()))

    def _pair(self) -> None:
        """Which sample was played when which was recorded, roughly: once, and when it is far off.

        Two clocks that differ by 100 ppm need it once an hour.
        """
        gap = self._reference.end - self._at
        if self._reference.end and (not self._paired or abs(gap) > FARTHEST):
            self._paired = True
            self._at = self._reference.end - 2 * FRAME
            self._delay, self._shift = EchoDelay(), None
            self._relearn()

    def _shifted(self) -> float:
        """How late the echo is, in samples; 0 until it is known."""
        line = self._delay.line
        if not line.known:
            return 0.0
        if self._shift is None or line.jumps != self._jumps:
            self._shift, self._jumps = line.at(self._at), line.jumps
            self._relearn()
        self._shift += float(np.clip(line.at(self._at) - self._shift, -SLEW, SLEW))
        return self._shift

    def _cancelled(self, near: Floats, far: Floats) -> Floats:
        left, echo = self._kalman.process(near, far)
        over_db = self._expected.over_db(left, echo)
        self._over.append(self._expected.known and over_db > self._tuning.margin_db)
        self._held -= 1
        if sum(self._over) * 10 >= self._tuning.sure_ms:
            self._held = self._tuning.hold_ms // 10
        self._measure(near, left)
        return left

    def _passes(self) -> bool:
        """Nothing is taken from the caller while the agent is silent, or when he stands out."""
        if not self._sounding:
            return True
        if self._delay.line.doubtful(self._at):
            return False
        return self._held > 0 or (self._expected.known and not self._expected.audible)

    def _trusted(self) -> bool:
        """Whether WebRTC has had the time to learn the echo path as well."""
        settled = self._expected.frames * 10 >= self._tuning.settle_ms
        return settled and not self._delay.line.doubtful(self._at)

    def _mixed(self, left: Floats, suppressed: Floats) -> Floats:
        """From one to the other within a frame."""
        before, self._pass = self._pass, float(self._passes())
        share = np.linspace(before, self._pass, FRAME)
        return np.asarray(share * left + (1 - share) * suppressed)

    def _measure(self, near: Floats, left: Floats) -> None:
        """Echo return loss enhancement of the linear part while there is nothing but echo."""
        if self._expected.audible and self._held <= 0:
            now = decibels(float(np.mean(near**2))) - decibels(float(np.mean(left**2)))
            self._erle_db += 0.02 * (now - self._erle_db)

    @property
    def figures(self) -> EchoFigures:
        line = self._delay.line
        return EchoFigures(
            erle_db=self._erle_db,
            delay_ms=line.at(self._at) * 1000 / RATE if line.known else None,
            drift_ppm=line.drift * 1e6,
            residual_dbfs=self._expected.dbfs,
        )

    @property
    def caller_passes(self) -> bool:
        """Whether what comes out is more than the rest of the echo."""
        return self._pass > 0.0


def _pcm(sound: Floats) -> bytes:
    return np.asarray(np.clip(np.rint(sound * FULL_SCALE), -32768, 32767), np.int16).tobytes()
