"""audio_in: the line's sound comes in; 16 kHz frames and where speech begins and ends go out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import numpy as np
import samplerate
import structlog

from actors.fundamental import Fundamental
from actors.segmenter import (
    WINDOW,
    Ended,
    Mark,
    Rose,
    Segmenter,
    Started,
    Thresholds,
    Window,
)
from bus.runtime import Emit
from bus.settings import AudioIn as AudioInSettings
from engines.energy import sound_dbfs
from engines.protocols import Vad, VadSession
from schemas import (
    CallClosed,
    CallerPcm,
    CallOpened,
    Event,
    LineLost,
    LinePcm,
    SpeechContinued,
    SpeechEnded,
    SpeechLikely,
    SpeechStarted,
)

log = structlog.get_logger()
RATE = 16_000


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

    resampler: To16k
    vad: VadSession
    segmenter: Segmenter
    window_end: int
    fundamental: Fundamental
    pending: bytearray = field(default_factory=bytearray)


class AudioInActor:
    """Resamples, listens for speech, and reports a line that has gone silent altogether."""

    name = "audio_in"
    hears = (LinePcm, CallOpened, CallClosed)

    def __init__(self, vad: Vad, settings: AudioInSettings) -> None:
        self._vad, self._settings = vad, settings
        self._thresholds = Thresholds(
            speech=settings.threshold,
            release=settings.release_threshold,
            onset_ms=settings.onset_ms,
            hangover_ms=settings.hangover_ms,
            min_level_dbfs=settings.min_level_dbfs,
            lull_ms=settings.lull_ms,
            rise_db=settings.rise_db,
            trial_ms=settings.trial_ms,
        )
        self._ears: dict[tuple[str, int], Ear] = {}
        self._heard: dict[str, int] = {}

    async def load(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self._vad.load)

    async def close(self) -> None:
        self._ears.clear()

    async def react(self, event: Event, emit: Emit) -> None:
        if isinstance(event, LinePcm):
            await self._hear(event, emit)
        elif isinstance(event, CallOpened):
            self._heard[event.call] = emit.at_ns
            emit.background(self._watch(event.call, emit))
        elif isinstance(event, CallClosed):
            self._heard.pop(event.call, None)
            for key in [key for key in self._ears if key[0] == event.call]:
                del self._ears[key]

    async def _hear(self, event: LinePcm, emit: Emit) -> None:
        ear = self._ear(event)
        if ear.resampler.hole_s(event.first) * 1000 > self._settings.line_lost_ms:
            return  # a line that silent is lost, and its call is about to be closed
        self._heard[event.call] = emit.at_ns
        first, pcm = ear.resampler.push(event.first, event.pcm)
        for at in range(0, len(pcm), 2 * RATE):
            some = pcm[at : at + 2 * RATE]
            emit(
                CallerPcm(
                    call=event.call,
                    channel=event.channel,
                    first=first + at // 2,
                    rate=RATE,
                    pcm=some,
                )
            )
        push_soon = getattr(ear.vad, "push_soon", None)
        voice = ear.fundamental.push(pcm)
        probabilities = await push_soon(voice) if push_soon else ear.vad.push(voice)
        for window in self._windows(ear, pcm, probabilities):
            for mark in ear.segmenter.push(window):
                emit(_event(event, mark))

    def _ear(self, event: LinePcm) -> Ear:
        """A new one begins where the line is: after a restart that is in the middle of a call."""
        key = (event.call, event.channel)
        if key not in self._ears:
            resampler = To16k(event.rate, event.first)
            segmenter = Segmenter(self._thresholds)
            self._ears[key] = Ear(
                resampler, self._vad.open(), segmenter, resampler.next_out, Fundamental()
            )
        return self._ears[key]

    def _windows(self, ear: Ear, pcm: bytes, probabilities: list[float]) -> list[Window]:
        """The 32 ms windows completed by `pcm`, with probability and level."""
        ear.pending += pcm
        windows = []
        for probability in probabilities:
            sound = bytes(ear.pending[: 2 * WINDOW])
            del ear.pending[: 2 * WINDOW]
            ear.window_end += WINDOW
            windows.append(Window(ear.window_end, probability, sound_dbfs(sound)))
        return windows

    async def _watch(self, call: str, emit: Emit) -> None:
        """Say once that the line is gone when no sample has come for `line_lost_ms`."""
        limit_ms = self._settings.line_lost_ms
        silent_ms = 0.0
        while silent_ms < limit_ms:
            left_ns = int((limit_ms - silent_ms) * 1e6)
            await emit.clock.sleep_until(emit.clock.now() + left_ns)
            silent_ms = (emit.clock.now() - self._heard.get(call, 0)) / 1e6
        emit(LineLost(call=call, silent_ms=int(silent_ms)))


def _event(cause: LinePcm, mark: Mark) -> Event:
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
            call=call, channel=channel, onset=onset, end=mark.end, voiced=mark.voiced
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
    )
