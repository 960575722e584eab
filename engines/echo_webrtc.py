"""WebRTC's echo canceller (AEC3): microphone and aligned loudspeaker PCM go in, suppressed PCM out.

While both sides speak AEC3 takes most of the caller along with the echo; engines/echo.py lets it
work where there is nothing but echo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engines.energy import level_dbfs
from engines.protocols import EchoFigures, EngineError

if TYPE_CHECKING:
    from pywebrtc_audio import EchoCanceller as Aec3

RATE = 16_000
FRAME_BYTES = 2 * RATE // 100


class WebrtcEcho:
    """EchoCanceller of `pywebrtc-audio`: 0.1 ms per 10 ms, the GIL is released meanwhile."""

    def __init__(self) -> None:
        """Raises EngineError when the wheel is missing."""
        self._aec = _aec3()
        self._figures = EchoFigures()

    def process(self, near: bytes, far: bytes) -> bytes:
        """The microphone's next 10 ms without the echo of `far`, both mono int16 at 16 kHz."""
        if len(near) != FRAME_BYTES or len(far) != FRAME_BYTES:
            raise ValueError(f"10 ms are {FRAME_BYTES} bytes, not {len(near)} and {len(far)}")
        out = self._aec.process(np.frombuffer(near, np.int16), np.frombuffer(far, np.int16))
        clean = out.tobytes()
        self._figures = EchoFigures(erle_db=level_dbfs(near) - level_dbfs(clean))
        return clean

    def reset(self) -> None:
        """Forget the echo path."""
        self._aec.reset()

    @property
    def figures(self) -> EchoFigures:
        """What the last frame lost, caller's voice included."""
        return self._figures


def _aec3() -> Aec3:
    try:
        from pywebrtc_audio import EchoCanceller
    except ImportError as error:
        raise EngineError(
            "pywebrtc-audio is not installed: run `.venv/bin/pip install -c constraints/core.txt "
            "-e '.[audio]'`"
        ) from error
    return EchoCanceller(sample_rate=RATE, num_channels=1, stream_delay_ms=0)
