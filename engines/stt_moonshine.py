"""Moonshine as an SttEngine: English of people, on the CPU; `make engine-moonshine`."""

from __future__ import annotations

from engines.moonshine_model import shipped
from engines.stt_process import PARTIAL_MS, Decoder, ProcessEngine

MOONSHINE = Decoder("moonshine", "engines.moonshine_child", check=shipped)


class MoonshineEngine(ProcessEngine):
    """SttEngine on Moonshine."""

    def __init__(self, partial_ms: int = PARTIAL_MS) -> None:
        """`partial_ms`: milliseconds of sound between two looks for new partial text; 300 at least."""
        super().__init__(MOONSHINE, partial_ms)
