"""An agent that talks into its own microphone, faster than real time: a room and a caller go in, what
audio_in and the rule of interruption make of it comes out.

Real parts: espeak's voice, engines/echo.py, the VAD, actors/segmenter.py, actors/duplex.py with the
default settings, actors/gain.py for the ducking. Simulated: the room (echo_path) and the way round
the fleet (`LOOP_MS`). Who interrupts is told twice: by voice alone, sooner than in the fleet
(`COMMIT_MS`), and by the fleet's rules, sound and words (echo_words), once an utterance is over.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field

import numpy as np
import soxr

from actors.duplex import FullDuplex
from actors.ear import BEFORE, BEHIND, RECENT, telling, thresholds
from actors.evidence import Evidence, Judge, Limits
from actors.gain import Gain
from actors.segmenter import WINDOW, Ended, Mark, Rose, Segmenter, Started, Window
from bus.sections import AudioIn, Playback
from engines.echo import LocalEcho
from engines.echo_webrtc import WebrtcEcho
from engines.energy import level_dbfs
from engines.floor import Floor
from engines.protocols import Vad
from engines.responder.stories import STORIES
from engines.tts_espeak import EspeakVoice
from soak.echo_path import (
    BLOCK,
    FULL_SCALE,
    RATE,
    Ear,
    EchoPath,
    Floats,
    Room,
    Samples,
    active_dbfs,
)
from soak.echo_words import Words

LOOP_MS = 60
"""From the sample that makes an onset sure to the ducked sample at the loudspeaker: three frames."""
VOICES = ("en-us", "en-us+f3", "en-us+m3")
TICK_MS = BLOCK * 1000 // RATE


def speech(seconds: float) -> Samples:
    """espeak telling the responder's stories in three voices, at full loudness (peak at 0 dBFS)."""
    return asyncio.run(_spoken(seconds))


async def _spoken(seconds: float) -> Samples:
    parts: list[Samples] = []
    length = 0
    for name in VOICES:
        voice = EspeakVoice(name)
        await voice.load()
        for story in STORIES.values():
            if length < seconds * voice.rate:
                async with aclosing(voice.stream(story)) as chunks:
                    parts += [np.frombuffer(chunk.pcm, np.int16) async for chunk in chunks]
                parts.append(np.zeros(voice.rate // 2, np.int16))
                length = sum(map(len, parts))
        await voice.close()
    sound = soxr.resample(np.concatenate(parts) / FULL_SCALE, voice.rate, RATE)
    return np.asarray(np.rint(sound / np.max(np.abs(sound)) * 32767), np.int16)


COMMIT_MS = 450
"""Of voice: sooner than in the fleet, where words are there to decide."""


@dataclass
class Utterance:
    """What audio_in made an utterance of (samples at 16 kHz) and whether it would have interrupted.

    `committed`: where voice alone had it interrupt; `meant`: whether the fleet's rules would.
    """

    onset: int
    told: int
    end: int = 0
    voiced: int = 0
    committed: int | None = None
    meant: bool = False


@dataclass
class Outcome:
    """A run: what was taken for the caller, how long the agent was ducked (s)."""

    utterances: list[Utterance] = field(default_factory=list)
    ducked_s: float = 0.0


class Loop:
    """One room, one agent, one canceller; `tick` lets 20 ms pass at the loudspeaker."""

    def __init__(self, room: Room, agent: Samples, vad: Vad, words: Words | None = None) -> None:
        """`words`: the recogniser; without one nothing is `meant`."""
        settings, self._playback = AudioIn(), Playback()
        self._agent = agent
        self._path, self._ear = EchoPath(room, active_dbfs(agent)), Ear(room)
        self.echo = LocalEcho(WebrtcEcho())
        self._vad = vad.open()
        self._segmenter = Segmenter(thresholds(settings))
        self._duplex = FullDuplex(Judge(Limits(hold_ms=COMMIT_MS, voice_ms=COMMIT_MS)))
        self._gain = Gain(RATE, self._playback.ramp_ms)
        self._orders: list[tuple[int, float]] = []
        self._tick = self._heard = self._windows = 0
        self._pending = b""
        self._open_window = bytearray()
        self._floor, self._floor_ms = Floor(), settings.floor_ms
        self._recent = bytearray()
        self._words = words
        if words is not None:
            words.call()
        self.outcome = Outcome()

    def run(self, seconds: float, caller: Floats | None = None) -> Outcome:
        """The agent speaks all the time, however often it is interrupted."""
        for _ in range(int(seconds * 1000 / TICK_MS)):
            self.tick(caller)
        return self.outcome

    def tick(self, caller: Floats | None) -> None:
        """20 ms of the loudspeaker and what the microphone recorded meanwhile."""
        while self._orders and self._orders[0][0] <= self._tick:
            self._gain.aim(self._orders.pop(0)[1])
        at = np.arange(self._tick * BLOCK, (self._tick + 1) * BLOCK) % len(self._agent)
        was_full = self._gain.full
        played = self._gain.apply(self._agent[at].tobytes())
        self.outcome.ducked_s += 0 if was_full and self._gain.full else TICK_MS / 1000
        self.echo.play(played)
        echo = self._path.hear(np.frombuffer(played, np.int16))
        said = None if caller is None else caller[self._heard : self._heard + len(echo)]
        self._heard += len(echo)
        self._pending += self._ear.record(echo, said).tobytes()
        self._tick += 1
        while len(self._pending) >= BLOCK:
            frame, self._pending = self._pending[:BLOCK], self._pending[BLOCK:]
            self._listen(self.echo.process(frame))

    def _listen(self, clean: bytes) -> None:
        self._open_window += clean
        self._recent += clean
        if self._words is not None:
            self._words.hear(clean)
        del self._recent[: -2 * RECENT]
        for probability in self._vad.push(clean):
            self._windows += 1
            level = level_dbfs(bytes(self._open_window[: 2 * WINDOW]))
            del self._open_window[: 2 * WINDOW]
            window = Window(self._windows * WINDOW, probability, level)
            for mark in self._segmenter.push(window):
                self._take(mark, window)

    def _take(self, mark: Mark, window: Window) -> None:
        """playback ducks at an onset; the duplex rule judges each later report."""
        if isinstance(mark, Rose):
            return
        due = self._tick + LOOP_MS // TICK_MS
        if isinstance(mark, Started):
            self.outcome.utterances.append(Utterance(mark.onset, mark.window.end))
            self._orders.append((due, self._playback.duck_db))
            return
        utterance, ended = self.outcome.utterances[-1], isinstance(mark, Ended)
        utterance.voiced = mark.voiced
        utterance.end = mark.end if isinstance(mark, Ended) else mark.window.end
        floor = self._wants_floor(mark, window) if isinstance(mark, Ended) else 0.0
        murmur = isinstance(mark, Ended) and mark.murmur
        voiced_ms = mark.voiced * 1000 / RATE
        evidence = Evidence(voiced_ms, ended_ms=0.0 if ended else None, floor=floor, murmur=murmur)
        verdict = self._duplex.judge(evidence)
        if verdict == "commit" and utterance.committed is None:
            utterance.committed = self._windows * WINDOW
        if isinstance(mark, Ended):
            utterance.meant = self._words is not None and self._words.interrupts(mark, floor)
            self._orders.append((due, 0.0))

    def _wants_floor(self, mark: Ended, window: Window) -> float:
        """As audio_in asks it of an utterance that has just ended."""
        if (stretch := telling(mark, window, self._floor_ms)) is None:
            return 0.0
        at = self._windows * WINDOW + len(self._open_window) // 2 - len(self._recent) // 2
        first, end = max(0, stretch[0] - BEFORE - at), max(0, stretch[1] + BEHIND - at)
        return self._floor(bytes(self._recent[2 * first : 2 * end]))
