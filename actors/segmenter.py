"""Speech probabilities of 32 ms windows go in, where speech begins and ends comes out. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

WINDOW = 512
"""Samples per VAD window at 16 kHz: 32 ms."""
SILENCE_DBFS = -100.0
CONTINUED_EVERY = 3
"""Windows between two reports while speech lasts: 96 ms."""
DENSE_WINDOWS = 8
"""So long, a quarter of a second, each window is reported: the agent's voice is about to be held."""
FLOOR_UP_DB = 0.15
"""A window louder than the floor lifts it so much: 4.7 dB a second."""
UNSURE_WINDOWS = 4
"""So long, 128 ms, what the detector is not sure of stands out until it is taken for a voice."""
UNSURE_RELEASE = 0.8
"""Share of `unsure_speech` at which such a voice goes on."""
RISE_WINDOWS, OVER_WINDOWS = 6, 3
"""A voice above another one shows in so many of so many windows: 96 of 192 ms."""
LEARN = 0.06
"""Share of a window in the background's level: half a second is remembered."""


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
    above_db: float = 6.0
    murmur_ms: float = 1024
    murmur_db: float = 9.0
    murmur_probability: float = 0.9
    unsure_speech: float = 0.25
    stands_out_db: float = 12.0
    over_ms: float = 256
    over_db: float = 9.0


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
    """Speech goes on: `voiced` samples so far, quiet for `silent` samples right now.

    `range_db`: how much its level has varied in the last `murmur_ms`, and `above_db`: by how much the
    louder part of it stands above the background; None before there is so much.
    """

    onset: int
    voiced: int
    silent: int
    window: Window
    range_db: float | None = None
    above_db: float | None = None


@dataclass(frozen=True)
class Ended:
    """The last voiced sample came before `end`. `murmur`: it was no voice but a background of voices.

    `masked`: a voice so much louder has begun that this was behind it; `Started` follows.
    """

    onset: int
    end: int
    voiced: int
    murmur: bool = False
    masked: bool = False


Mark = Rose | Started | Continued | Ended


class Segmenter:
    """Two windows above the threshold begin speech, `hangover_ms` below the lower one ends it.

    Before that, one window that is loud against the floor tells that something may be beginning: in
    240 clips 35 ms after the first audible sample (median; p90 87), where two windows of the detector
    take 86 (p90 267). What turns out to be no speech within `trial_ms` is the floor from then on.

    One voice has gaps, many at once have none. Where the level of a whole `murmur_ms` stays within
    `murmur_db` (its tenth and ninetieth percentiles) and the detector is not sure of it, several people
    talk somewhere: that is the background, and speech must be `above_db` louder.

    The detector is less sure of a narrow voice, and of any amid noise. What stands out of the background
    by `stands_out_db` needs `unsure_speech` only, on average of UNSURE_WINDOWS.

    Who is `over_db` louder than all that was said for `over_ms` before stands nearer than who said it: his
    is an utterance of its own, and what was before is the background.
    """

    def __init__(self, thresholds: Thresholds) -> None:
        self._t = thresholds
        self._floor: float | None = None
        self._trial = 0
        self._onset: int | None = None
        self._candidate = 0
        self._standing: deque[Window] = deque(maxlen=UNSURE_WINDOWS)
        self._voiced = 0
        self._last_voiced = 0
        self._windows = 0
        self._background = SILENCE_DBFS
        self._loudest = SILENCE_DBFS
        """Of this speech, as far as it is older than `_recent`."""
        self._recent: deque[Window] = deque(maxlen=max(2, int(thresholds.murmur_ms * 16 / WINDOW)))

    def resume(self, onset: int, voiced: int, window_end: int, silent: int) -> None:
        """Go on in the middle of speech, as `Started` or `Continued` left it at `window_end`."""
        self._onset, self._voiced, self._last_voiced = onset, voiced, window_end - silent
        self._windows = self._candidate = 0
        self._recent.clear()

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
        self._standing.append(window)
        if not self._stands_out(window):
            self._standing.clear()
        above_db = window.level_dbfs - self._background
        loud = window.level_dbfs >= self._t.min_level_dbfs and above_db >= self._t.above_db
        if not loud or window.probability < self._t.release:
            self._background += LEARN * above_db
        if window.probability < self._t.speech or not loud:
            self._candidate = 0
            self._recent.clear()
        else:
            self._recent.append(window)
            self._candidate += WINDOW
        if self._candidate >= self._t.onset_ms * 16:
            return [self._start(self._candidate, window)]
        sure = sum(one.probability for one in self._standing) / UNSURE_WINDOWS
        if len(self._standing) == UNSURE_WINDOWS and sure >= self._t.unsure_speech:
            self._recent.clear()
            self._recent.extend(self._standing)
            return [self._start(UNSURE_WINDOWS * WINDOW, window)]
        return []

    def _start(self, length: int, window: Window) -> Started:
        self._onset = window.end - length
        self._voiced, self._last_voiced, self._windows = length, window.end, 0
        self._candidate = self._trial = 0
        self._standing.clear()
        self._loudest = SILENCE_DBFS
        return Started(self._onset, window)

    def _stands_out(self, window: Window) -> bool:
        above_db = window.level_dbfs - self._background
        loud = window.level_dbfs >= self._t.min_level_dbfs and above_db >= self._t.stands_out_db
        return loud and window.probability >= self._t.rise_probability

    def _speaking(self, window: Window, onset: int) -> list[Mark]:
        self._windows += 1
        if len(self._recent) == self._recent.maxlen:
            self._loudest = max(self._loudest, self._recent[0].level_dbfs)
        self._recent.append(window)
        if (rise := self._rise()) is not None:
            return self._masked(onset, *rise)
        if self._is_voiced(window):
            self._voiced += WINDOW
            self._last_voiced = window.end
            if self._murmurs():
                return [self._only_murmur(onset)]
        silent = window.end - self._last_voiced
        if silent >= self._t.hangover_ms * 16:
            self._onset = None
            return [Ended(onset, self._last_voiced, self._voiced)]
        lull = silent - WINDOW < self._t.lull_ms * 16 <= silent
        dense = self._windows < DENSE_WINDOWS
        if self._windows % CONTINUED_EVERY and not lull and not dense:
            return []
        low_high = self._low_high()
        if low_high is None:
            return [Continued(onset, self._voiced, silent, window)]
        low, high = low_high
        return [Continued(onset, self._voiced, silent, window, high - low, high - self._background)]

    def _low_high(self) -> tuple[float, float] | None:
        """The tenth and the ninetieth percentile of the levels of the last `murmur_ms`."""
        if len(self._recent) < (self._recent.maxlen or 0):
            return None
        return _share(self._recent, 0.1), _share(self._recent, 0.9)

    def _murmurs(self) -> bool:
        """Whether no one voice stands out of the last `murmur_ms`."""
        low_high = self._low_high()
        if low_high is None or low_high[1] - low_high[0] >= self._t.murmur_db:
            return False
        sure = sum(window.probability for window in self._recent) / len(self._recent)
        return sure < self._t.murmur_probability

    def _rise(self) -> tuple[int, float] | None:
        """With how many of the last windows a voice began above what was before; and the level of that."""
        windows = list(self._recent)
        before, last = windows[:-RISE_WINDOWS], windows[-RISE_WINDOWS:]
        if not self._t.over_db or len(before) * WINDOW < self._t.over_ms * 16:
            return None
        before_dbfs = _share(before, 0.9)
        over = [window.level_dbfs - before_dbfs for window in last]
        loud = [
            db >= self._t.over_db and window.probability >= self._t.release
            for db, window in zip(over, last, strict=True)
        ]
        if not loud[-1] or sum(loud) < OVER_WINDOWS:
            return None
        begins = next(n for n, db in enumerate(over) if db >= self._t.over_db / 2)
        return len(last) - begins, _share(before, 0.5)

    def _masked(self, onset: int, size: int, before_dbfs: float) -> list[Mark]:
        """The last `size` windows are an utterance of their own, and what was before its background."""
        above = list(self._recent)[-size:]
        first = above[0].end - WINDOW
        voiced = self._voiced - sum(map(self._is_voiced, above[:-1])) * WINDOW
        ended = Ended(onset, min(self._last_voiced, first), voiced, masked=True)
        self._background = before_dbfs
        self._recent.clear()
        self._recent.extend(above)
        return [ended, self._start(size * WINDOW, above[-1])]

    def _is_voiced(self, window: Window) -> bool:
        if (
            self._stands_out(window)
            and window.probability >= UNSURE_RELEASE * self._t.unsure_speech
        ):
            return True
        above_db = window.level_dbfs - self._background
        return window.probability >= self._t.release and above_db >= self._t.above_db / 2

    def _only_murmur(self, onset: int) -> Ended:
        """It is the background from now on. What was said before it began has ended with it."""
        murmured = sum(map(self._is_voiced, self._recent)) * WINDOW
        began = self._recent[0].end - WINDOW
        self._onset, self._background = None, _share(self._recent, 0.5)
        self._recent.clear()
        if self._loudest < self._background + self._t.murmur_db:
            return Ended(onset, onset, 0, murmur=True)
        return Ended(onset, began, self._voiced - murmured)


def _share(windows: Collection[Window], share: float) -> float:
    """The level, dBFS, that such a share of them stays at or below."""
    levels = sorted(window.level_dbfs for window in windows)
    return levels[min(len(levels) - 1, int(share * len(levels)))]
