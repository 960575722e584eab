"""Speech probabilities of 32 ms windows go in, where speech begins and ends comes out. Pure."""

from __future__ import annotations

from dataclasses import dataclass

WINDOW = 512
"""Samples per VAD window at 16 kHz: 32 ms."""
CONTINUED_EVERY = 3
"""Windows between two reports while speech lasts: 96 ms."""
DENSE_WINDOWS = 8
"""So long, a quarter of a second, each window is reported: the agent's voice is about to be held."""
FLOOR_UP_DB = 0.15
"""A window louder than the floor lifts it so much: 4.7 dB a second."""


@dataclass(frozen=True)
class Thresholds:
    """Probabilities 0-1, lengths in ms, level in dBFS; see config/fleet.toml, [audio_in]."""

    speech: float = 0.5
    release: float = 0.35
    onset_ms: float = 64
    hangover_ms: float = 250
    min_level_dbfs: float = -55.0
    lull_ms: float = 96
    rise_db: float = 12.0
    rise_probability: float = 0.05
    trial_ms: float = 250


@dataclass(frozen=True)
class Window:
    """One VAD window that ends before sample `end`."""

    end: int
    probability: float
    level_dbfs: float


@dataclass(frozen=True)
class Rose:
    """The window is the first that may be speech, `rise_db` above what was before or by its sound."""

    window: Window
    floor_dbfs: float


@dataclass(frozen=True)
class Started:
    """Speech began at sample `onset`; the window that made it sure rides along."""

    onset: int
    window: Window


@dataclass(frozen=True)
class Continued:
    """Speech goes on: `voiced` samples so far, quiet for `silent` samples right now."""

    onset: int
    voiced: int
    silent: int
    window: Window


@dataclass(frozen=True)
class Ended:
    """The last voiced sample came before `end`."""

    onset: int
    end: int
    voiced: int


Mark = Rose | Started | Continued | Ended


class Segmenter:
    """Two windows above the threshold begin speech, `hangover_ms` below the lower one ends it.

    Before that, one window that is loud against the floor tells that something may be beginning: in
    240 clips 35 ms after the first audible sample (median; p90 87), where two windows of the detector
    take 86 (p90 267). What turns out to be no speech within `trial_ms` is the floor from then on.
    """

    def __init__(self, thresholds: Thresholds) -> None:
        self._t = thresholds
        self._floor: float | None = None
        self._trial = 0
        self._onset: int | None = None
        self._candidate = 0
        self._voiced = 0
        self._last_voiced = 0
        self._windows = 0

    def resume(self, onset: int, voiced: int, window_end: int, silent: int) -> None:
        """Go on in the middle of speech, as `Started` or `Continued` left it at `window_end`."""
        self._onset, self._voiced, self._last_voiced = onset, voiced, window_end - silent
        self._windows = self._candidate = 0

    def push(self, window: Window) -> list[Mark]:
        """Take the next window."""
        if self._onset is not None:
            return self._speaking(window, self._onset)
        return [*self._rising(window), *self._idle(window)]

    def _rising(self, window: Window) -> list[Mark]:
        """Told once, then tried for `trial_ms`."""
        level = window.level_dbfs
        floor = self._floor = level if self._floor is None else self._floor
        if self._trial:
            self._trial -= 1
            if not self._trial:
                self._floor = level
            return []
        loud = level >= floor + self._t.rise_db and window.probability >= self._t.rise_probability
        if level >= self._t.min_level_dbfs and (loud or window.probability >= self._t.speech):
            self._trial = max(1, int(self._t.trial_ms * 16 / WINDOW))
            return [Rose(window, floor)]
        self._floor = min(floor + FLOOR_UP_DB, level)
        return []

    def _idle(self, window: Window) -> list[Mark]:
        loud = window.level_dbfs >= self._t.min_level_dbfs
        if window.probability < self._t.speech or not loud:
            self._candidate = 0
            return []
        self._candidate += WINDOW
        if self._candidate < self._t.onset_ms * 16:
            return []
        self._onset = window.end - self._candidate
        self._voiced, self._last_voiced, self._windows = self._candidate, window.end, 0
        self._candidate = self._trial = 0
        return [Started(self._onset, window)]

    def _speaking(self, window: Window, onset: int) -> list[Mark]:
        self._windows += 1
        if window.probability >= self._t.release:
            self._voiced += WINDOW
            self._last_voiced = window.end
        silent = window.end - self._last_voiced
        if silent >= self._t.hangover_ms * 16:
            self._onset = None
            return [Ended(onset, self._last_voiced, self._voiced)]
        lull = silent - WINDOW < self._t.lull_ms * 16 <= silent
        dense = self._windows < DENSE_WINDOWS
        if self._windows % CONTINUED_EVERY and not lull and not dense:
            return []
        return [Continued(onset, self._voiced, silent, window)]
