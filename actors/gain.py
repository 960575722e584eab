"""Frames of sound and a wanted level go in, the same frames attenuated go out, without clicks."""

from __future__ import annotations

import numpy as np


class Gain:
    """A gain that moves to its target along a linear ramp of `ramp_ms`."""

    def __init__(self, rate: int, ramp_ms: float = 10) -> None:
        self._step = 1.0 / max(1.0, rate * ramp_ms / 1000)
        self._now = 1.0
        self._target = 1.0

    def aim(self, gain_db: float, at_once: bool = False) -> None:
        """From the next frame on, move to `gain_db` (0: full level); `at_once`: nothing has sounded yet."""
        self._target = float(10 ** (gain_db / 20))
        if at_once:
            self._now = self._target

    @property
    def full(self) -> bool:
        """Whether frames pass unchanged."""
        return self._now == self._target == 1.0

    def apply(self, pcm: bytes) -> bytes:
        """Mono int16 PCM of any length."""
        if self.full:
            return pcm
        samples = np.frombuffer(pcm, np.int16)
        if self._now == self._target:
            loud = np.multiply(samples, np.float32(self._now), dtype=np.float32)
            return np.rint(loud, out=loud).astype(np.int16).tobytes()
        way = self._target - self._now
        steps = np.arange(1, len(samples) + 1) * self._step
        gains = self._now + np.sign(way) * np.minimum(steps, abs(way))
        self._now = float(gains[-1]) if len(gains) else self._now
        if abs(self._now - self._target) < 1e-9:
            self._now = self._target
        return np.asarray(np.rint(samples * gains), np.int16).tobytes()
