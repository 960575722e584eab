"""In come samples as they sounded and as they would have; out come levels, gains and audible ends. Pure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Sound = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
RATE = 16_000
WINDOW = RATE // 50
"""Levels are taken over 20 ms…"""
HOP = RATE // 200
"""…every 5 ms."""
FLOOR_DB = -120.0
AUDIBLE_DBFS = -65.0
"""45 dB below the voice: nobody hears less."""
PRESENT_DB = 35.0
"""A gain can be told where the voice would have been at most this far below its own loud parts."""


def levels_db(sound: Sound, window: int = WINDOW) -> Sound:
    """dBFS of each window; the k-th begins at sample k * HOP."""
    if len(sound) < window:
        return np.zeros(0)
    squares = np.concatenate([[0.0], np.cumsum(sound**2)])
    starts = np.arange(0, len(sound) - window + 1, HOP)
    power = np.maximum(squares[starts + window] - squares[starts], 0) / window
    return np.asarray(10 * np.log10(power + 10 ** (FLOOR_DB / 10)))


def gains_db(played: Sound, would: Sound) -> tuple[Sound, Flags]:
    """How much quieter it sounded than it would have, and where that can be told at all."""
    length = min(len(played), len(would))
    heard, meant = levels_db(played[:length]), levels_db(would[:length])
    if not len(meant):
        return np.zeros(0), np.zeros(0, np.bool_)
    known = meant > max(float(np.percentile(meant, 90)) - PRESENT_DB, AUDIBLE_DBFS)
    return np.minimum(heard - meant, 6.0), known


def filled(gains: Sound, known: Flags) -> Sound:
    """Gains with the last known one kept up through pauses; 0 dB before the first."""
    last = np.maximum.accumulate(np.where(known, np.arange(len(known)), -1))
    return np.where(last >= 0, gains[np.maximum(last, 0)], 0.0)


def audible_span(sound: Sound) -> tuple[int, int] | None:
    """First and last-plus-one audible sample, to 5 ms; None when it is all silence."""
    loud = np.flatnonzero(levels_db(sound, HOP) > AUDIBLE_DBFS)
    if not len(loud):
        return None
    return int(loud[0]) * HOP, (int(loud[-1]) + 1) * HOP


def audible_s(sound: Sound) -> float:
    """Seconds of it that can be heard."""
    return float(np.count_nonzero(levels_db(sound, HOP) > AUDIBLE_DBFS)) * HOP / RATE


def first_audible(sound: Sound, start: int) -> int | None:
    """The first audible sample from `start` on."""
    span = audible_span(sound[start:])
    return None if span is None else start + span[0]


def runs(flags: Flags) -> list[tuple[int, int]]:
    """[start, end) of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
