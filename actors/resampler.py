"""Sound at one rate comes in, sound at another goes out, a stretch at a time."""

from __future__ import annotations

import numpy as np
import samplerate


class Resampler:
    """One stretch of sound after another, as if it were one."""

    def __init__(self, rate_in: int, rate_out: int) -> None:
        self.rate_in = rate_in
        self._ratio = rate_out / rate_in
        self._inner = None if rate_in == rate_out else samplerate.Resampler("sinc_fastest", 1)

    def push(self, pcm: bytes, last: bool) -> bytes:
        """int16 PCM both ways; `last` brings out what the filter still holds."""
        if self._inner is None:
            return pcm
        samples = np.frombuffer(pcm, np.int16).astype(np.float32) / 32768
        out = self._inner.process(samples, self._ratio, end_of_input=last)
        return bytes((np.clip(out, -1, 1) * 32767).astype(np.int16).tobytes())
