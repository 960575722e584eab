"""Sound that a voice made goes in, what is wrong with its samples comes out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FULL_SCALE = 32_768
SILENT_DBFS = -120.0
"""Told of digital silence, whose level in dB has no number."""


@dataclass(frozen=True)
class Bounds:
    """What is right: ms of sound from `least_ms` to `most_ms`, and more than `level_dbfs`."""

    least_ms: float
    most_ms: float
    level_dbfs: float


@dataclass(frozen=True)
class Heard:
    """`ms` of sound at `dbfs`; `why` it is not right, "" when it is."""

    ms: float
    dbfs: float
    why: str = ""


def check(pcm: bytes, rate: int, bounds: Bounds) -> Heard:
    """Mono int16 PCM at `rate` Hz. Level: RMS without the offset; 0 dBFS is a full-scale square wave."""
    samples = np.frombuffer(pcm[: len(pcm) // 2 * 2], "<i2").astype(np.float64)
    ms = 1000 * len(samples) / rate
    spread = float(samples.std()) if len(samples) else 0.0
    dbfs = max(SILENT_DBFS, 20 * float(np.log10(spread / FULL_SCALE))) if spread else SILENT_DBFS
    return Heard(round(ms, 1), round(dbfs, 1), _wrong(pcm, ms, spread, dbfs, bounds))


def _wrong(pcm: bytes, ms: float, spread: float, dbfs: float, bounds: Bounds) -> str:
    if len(pcm) % 2:
        return f"{len(pcm)} bytes, which are no whole samples of 16 bits"
    if ms < bounds.least_ms:
        return f"{ms:.0f} ms of sound, fewer than tts.smoke_least_ms ({bounds.least_ms:g})"
    if ms > bounds.most_ms:
        return f"{ms:.0f} ms of sound and more, over tts.smoke_most_ms ({bounds.most_ms:g})"
    if not spread:
        return f"{ms:.0f} ms in which each sample is the same"
    if dbfs <= bounds.level_dbfs:
        return (
            f"{ms:.0f} ms of sound at {dbfs:.1f} dBFS, not above tts.smoke_level_dbfs "
            f"({bounds.level_dbfs:g})"
        )
    return ""
