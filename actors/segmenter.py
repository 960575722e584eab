"""Speech probabilities of 32 ms windows go in, where speech begins and ends comes out. Pure."""

from __future__ import annotations

from dataclasses import dataclass

WINDOW = 512
"""Samples per VAD window at 16 kHz: 32 ms."""
CONTINUED_EVERY = 3
"""Windows between two reports while speech lasts: 96 ms."""


@dataclass(frozen=True)
class Thresholds:
    """Probabilities 0-1, lengths in ms, level in dBFS; see config/fleet.toml, [audio_in]."""

    speech: float = 0.5
    release: float = 0.35
    onset_ms: float = 64
    hangover_ms: float = 250
    min_level_dbfs: float = -55.0
    lull_ms: float = 96


@dataclass(frozen=True)
class Window:
    """One VAD window that ends before sample `end`."""

    end: int
    probability: float
    level_dbfs: float


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


Mark = Started | Continued | Ended


class Segmenter:
    """Two windows above the threshold begin speech, `hangover_ms` below the lower one ends it."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._t = thresholds
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
        return self._idle(window) if self._onset is None else self._speaking(window, self._onset)

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
        self._candidate = 0
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
        if self._windows % CONTINUED_EVERY and not lull:
            return []
        return [Continued(onset, self._voiced, silent, window)]
