"""What audio_in knows of one channel, and what it makes of it. No I/O but the journal it is given."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import samplerate

from actors.fundamental import Fundamental
from actors.intake import Intake
from actors.segmenter import (
    WINDOW,
    Continued,
    Ended,
    Mark,
    Rose,
    Segmenter,
    Started,
    Thresholds,
    Window,
)
from bus.journal import Journal
from bus.runtime import Emit
from bus.sections import AudioIn as AudioInSettings
from engines.energy import sound_dbfs
from engines.floor import FRAMES, HOP
from engines.protocols import VadSession
from schemas import (
    Event,
    LinePcm,
    SpeechContinued,
    SpeechEnded,
    SpeechLikely,
    SpeechMark,
    SpeechStarted,
)

RATE = 16_000
WINDOW_BYTES = 2 * WINDOW
BEFORE, BEHIND = 6400, 4000
"""Samples (16 kHz) around an utterance that are looked at with it: as the network was trained."""
LONGEST = FRAMES * HOP - BEFORE
LASTING = FRAMES * HOP - BEFORE
"""Of what lasts, so much is looked at."""
RECENT = FRAMES * HOP + BEFORE + RATE
SETTLED = RATE // 10
"""Samples behind a mark from which on frames tell of it: however long it took to be told, the same ones."""


class To16k:
    """Sound at any rate goes in, the same at 16 kHz comes out; keeps count of samples."""

    def __init__(self, rate: int, first: int = 0) -> None:
        self.rate = rate
        self.next_in = first
        self.next_out = first * RATE // rate
        self._resampler = None if rate == RATE else samplerate.Resampler("sinc_fastest", 1)

    def hole_s(self, first: int) -> float:
        """How much is missing before sample `first`."""
        return max(0, first - self.next_in) / self.rate

    def hole(self, first: int) -> int:
        """The same in samples at 16 kHz."""
        return max(0, first - self.next_in) * RATE // self.rate

    def push(self, first: int, pcm: bytes) -> tuple[int, bytes]:
        """The number of the first sample that comes out, and the samples.

        What was pushed before is skipped; a hole is filled with silence, so that positions stay
        true.
        """
        known = self.next_in - first
        if known > 0:
            pcm = pcm[2 * known :]
        elif known < 0:
            pcm = bytes(-2 * known) + pcm
        self.next_in += len(pcm) // 2
        out = self._resample(pcm)
        first_out, self.next_out = self.next_out, self.next_out + len(out) // 2
        return first_out, out

    def _resample(self, pcm: bytes) -> bytes:
        if self._resampler is None:
            return pcm
        samples = np.frombuffer(pcm, np.int16).astype(np.float32) / 32768
        out = self._resampler.process(samples, RATE / self.rate)
        return bytes((np.clip(out, -1, 1) * 32767).astype(np.int16).tobytes())


@dataclass
class Ear:
    """One channel of one call."""

    intake: Intake
    resampler: To16k
    journal: Journal
    vad: VadSession
    segmenter: Segmenter
    window_end: int
    recent_end: int = 0
    told_to: int = 0
    """Windows up to here were judged by a predecessor."""
    confirmed: int = 0
    fundamental: Fundamental = field(default_factory=Fundamental)
    pending: bytearray = field(default_factory=bytearray)
    recent: bytearray = field(default_factory=bytearray)
    """The last sound that the detector was given."""
    waiting: int = 0
    """Samples behind `window_end` that the detector has yet to judge."""

    asked: int = 0
    """So much voice there was when `engines/floor.py` was asked about what lasts."""

    owed: deque[Owed] = field(default_factory=deque)
    """In their order; all behind one whose odds are not there yet wait for it."""

    newest: SpeechMark | None = None
    """What frames tell of speech."""

    fresh: deque[SpeechMark] = field(default_factory=deque)
    """Told, and not yet in frames."""

    def said(self, onset: int, end: int) -> bytes:
        """An utterance: its sound, with what surrounds it, for `engines/floor.py`."""
        return self.sound(onset - BEFORE, end + BEHIND)

    def sound(self, first: int, end: int) -> bytes:
        """What of it is still there."""
        at = self.recent_end - len(self.recent) // 2
        return bytes(self.recent[2 * max(0, first - at) : 2 * max(0, end - at)])

    def mark_at(self, first: int) -> SpeechMark | None:
        """What a frame from sample `first` on tells of speech."""
        while self.fresh and self.fresh[0].window + SETTLED <= first:
            self.newest = self.fresh.popleft()
        return self.newest

    def begin_at(self, rate: int, first: int, segmenter: Segmenter) -> None:
        """Behind a hole too long for silence: nothing before `first` matters any more."""
        self.resampler, self.segmenter = To16k(rate, first), segmenter
        self.pending.clear()
        self.fundamental = Fundamental()
        self.window_end = self.resampler.next_out


@dataclass
class Owed:
    """A mark to be told; `floor`: the odds that it wants the floor, None while they are not there."""

    mark: Mark
    window: Window
    event: LinePcm
    emit: Emit
    floor: float | None = None


def telling(mark: Ended, window: Window, floor_ms: float) -> tuple[int, int] | None:
    """The samples by which one can tell what has ended, in `window`: the last of what seems a murmur."""
    if mark.murmur:
        return window.end - LASTING, window.end
    if mark.masked:
        return None
    if not 0 < mark.voiced <= floor_ms * 16 or mark.end - mark.onset > LONGEST:
        return None
    return mark.onset, mark.end


def thresholds(settings: AudioInSettings) -> Thresholds:
    """The segmenter's, as config/fleet.toml has them."""
    return Thresholds(
        speech=settings.threshold,
        release=settings.release_threshold,
        onset_ms=settings.onset_ms,
        hangover_ms=settings.hangover_ms,
        min_level_dbfs=settings.min_level_dbfs,
        lull_ms=settings.lull_ms,
        rise_db=settings.rise_db,
        trial_ms=settings.trial_ms,
        above_db=settings.above_db,
        murmur_ms=settings.murmur_ms,
        murmur_db=settings.murmur_db,
        murmur_probability=settings.murmur_probability,
        unsure_speech=settings.unsure_speech,
        stands_out_db=settings.stands_out_db,
        over_ms=settings.over_ms,
        over_db=settings.over_db,
    )


def windows_of(ear: Ear, sound: bytes, probabilities: list[float]) -> Iterator[Window]:
    """The 32 ms windows of `sound`, with probability and level."""
    for number, probability in enumerate(probabilities):
        ear.window_end += WINDOW
        piece = sound[number * WINDOW_BYTES : (number + 1) * WINDOW_BYTES]
        yield Window(ear.window_end, probability, sound_dbfs(piece))


def kept_sound(journal: Journal, first: int) -> bytes:
    """The journal's sound from `first` to its end; silence where it has none."""
    sound = bytearray()
    while (at := first + len(sound) // 2) < journal.end:
        piece = journal.read(at, journal.end - at)
        sound += bytes(2 * (piece.first - at)) + piece.pcm
    return bytes(sound)


def written(mark: Started | Continued | Ended, window: Window, at: int) -> SpeechMark:
    """A mark as the journal keeps it."""
    if isinstance(mark, Ended):
        return SpeechMark(at, "ended", mark.onset, window.end, end=mark.end, voiced=mark.voiced)
    if isinstance(mark, Continued):
        return SpeechMark(
            at, "continued", mark.onset, window.end, voiced=mark.voiced, silent=mark.silent
        )
    return SpeechMark(at, "started", mark.onset, window.end, voiced=window.end - mark.onset)


def event_of(cause: LinePcm, mark: Mark, floor: float) -> Event:
    call, channel = cause.call, cause.channel
    if isinstance(mark, Rose):
        return SpeechLikely(
            call=call,
            channel=channel,
            at=mark.window.end,
            probability=mark.window.probability,
            level_dbfs=mark.window.level_dbfs,
            floor_dbfs=mark.floor_dbfs,
        )
    onset = mark.onset
    if isinstance(mark, Ended):
        return SpeechEnded(
            call=call,
            channel=channel,
            onset=onset,
            end=mark.end,
            voiced=mark.voiced,
            murmur=mark.murmur,
            masked=mark.masked,
            floor=floor,
        )
    probability, level_dbfs = mark.window.probability, mark.window.level_dbfs
    if isinstance(mark, Started):
        return SpeechStarted(
            call=call,
            channel=channel,
            onset=onset,
            probability=probability,
            level_dbfs=level_dbfs,
        )
    return SpeechContinued(
        call=call,
        channel=channel,
        onset=onset,
        end=mark.window.end,
        voiced=mark.voiced,
        silent=mark.silent,
        probability=probability,
        level_dbfs=level_dbfs,
        floor=floor,
    )
