"""In comes a trial; out goes what the fleet's ear and recogniser make of its sound, without a fleet.

The real audio_in, detector, channel and decoder, on a clock of their own, as fast as they go. When words
are there is not measured but set (WORDS_MS): as on an idle box.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from actors.audio_in import AudioInActor
from actors.build import vad
from actors.channel import Channel
from bus.settings import Settings, load
from engines import moonshine_child, pocketsphinx_child
from engines.decoder_wire import SAMPLES_PER_MS, Listens
from engines.moonshine_model import Moonshine
from engines.pocketsphinx_child import load_decoder
from engines.protocols import Hypothesis
from engines.stt_moonshine import MOONSHINE
from engines.stt_pocketsphinx import POCKETSPHINX
from ops import wav
from schemas import (
    Event,
    Final,
    LinePcm,
    Partial,
    SecondLook,
    SpeechContinued,
    SpeechEnded,
    SpeechLikely,
    SpeechStarted,
)
from soak.duplex.caller import FADE_S
from soak.duplex.sounds import Prepared, prepare
from soak.duplex.trials import Trial

CALL = "dry"
DECODERS = {"pocketsphinx": POCKETSPHINX, "moonshine": MOONSHINE}
RATE, FRAME = 16_000, 320
LEAD, ANSWER_MS, AFTER = RATE // 2, 900, 3 * RATE
"""The agent answers so long after the request; the line is heard for `AFTER` behind the trial."""
WORDS_MS, SECOND_MS = 60.0, 300.0
"""How long after the sound that they are made of words are there, and those of a second look."""
LONGEST = 30 * RATE
Mark = SpeechLikely | SpeechStarted | SpeechContinued | SpeechEnded
Sense = Mark | Partial | Final | SecondLook


class Sensed(msgspec.Struct, frozen=True):
    """What one trial's sound gave: events at ms of the call, its true onset and end, and sounds.

    `short`, `lasting`: what networks were asked of when an utterance had ended, and while it lasted, by the
    `end` of the event.
    """

    trial: Trial
    onset_ms: float
    end_ms: float
    answer_ms: float
    events: list[tuple[float, Sense]]
    short: dict[int, bytes]
    lasting: dict[int, bytes]


class Asked(list[bytes]):
    """What networks are asked about is kept, and they answer nothing."""

    def __call__(self, pcm: bytes, then: Callable[[float], None]) -> None:
        self.append(pcm)
        then(0.0)

    def close(self) -> None: ...


class Ear:
    """audio_in alone, and the `emit` it is given."""

    def __init__(self, settings: Settings) -> None:
        self._kept = Asked()
        self._marks: list[Mark] = []
        self.short: dict[int, bytes] = {}
        self.lasting: dict[int, bytes] = {}
        self.at_ns, self.clock = 0, None
        detector = vad(settings.audio_in.vad, settings)
        self.actor = AudioInActor(detector, settings.audio_in, None, self._kept)

    def __call__(self, event: Event) -> bool:
        """What the actor tells."""
        if isinstance(event, Mark):
            self._marks.append(event)
            if self._kept and isinstance(event, SpeechEnded):
                self.short[event.end] = self._kept.pop()
            elif self._kept and isinstance(event, SpeechContinued):
                self.lasting[event.end] = self._kept.pop()
        return True

    def background(self, work: Coroutine[Any, Any, None]) -> None:
        """Nothing happens by itself here."""
        work.close()

    def hear(self, first: int, pcm: bytes) -> list[Mark]:
        """What a frame leads to."""
        self.at_ns = (first + len(pcm) // 2) * 1_000_000 // SAMPLES_PER_MS
        frame = LinePcm(call=CALL, first=first, rate=RATE, pcm=pcm)
        self.actor.react(frame, self)  # type: ignore[arg-type] # of an Emit it takes no more than there is
        marks, self._marks = self._marks, []
        return marks


@dataclass
class Session:
    """A recogniser for `Channel` that answers at once, and notes when it would have."""

    listener: Listens
    looks_again: bool = True
    now_ms: float = 0.0
    told: list[tuple[float, Sense]] = field(default_factory=list)
    final: Hypothesis | None = None
    second: bool = False

    def begin(self, utterance: int, first: int) -> None:
        self.listener.begin(utterance, first)

    def feed(self, pcm: bytes) -> None:
        self._guess(self.listener.feed(pcm))

    def settle(self) -> None:
        self._guess(self.listener.settle())

    def resume(self) -> None:
        self._guess(self.listener.resume())

    def finish(self) -> None:
        self.final, self.second = self.listener.finish(), False

    def look_again(self) -> bool:
        self.second = self.looks_again
        return self.second

    def ended(self) -> None:
        """What is owed when an utterance has: its final, and the second look."""
        if (guess := self.final) is None:
            return
        final = Final(
            call=CALL,
            utterance=guess.utterance,
            text=guess.text,
            start=guess.start,
            end=guess.end,
            second=self.second,
        )
        self.told.append((self.now_ms + WORDS_MS, final))
        for look in self.listener.again() if self.second else ():
            second = SecondLook(
                call=CALL,
                utterance=look.utterance,
                text=look.text,
                start=look.start,
                end=look.end,
                command_nats=look.second or 0.0,
            )
            self.told.append((self.now_ms + SECOND_MS, second))
        self.final = None

    def _guess(self, guesses: Iterator[Hypothesis]) -> None:
        for guess in guesses:
            partial = Partial(
                call=CALL,
                utterance=guess.utterance,
                text=guess.text,
                start=guess.start,
                end=guess.end,
                settled=guess.settled,
            )
            self.told.append((self.now_ms + WORDS_MS, partial))


def track(prepared: Prepared) -> tuple[wav.Samples, int, int]:
    """All that the line sends; the samples at which the agent answers and the trial's sound begins."""
    request, sound = prepared.request, prepared.sound
    answer = LEAD + len(request) + ANSWER_MS * SAMPLES_PER_MS
    said = answer + int(prepared.trial.after_s * RATE) - prepared.onset
    said = max(said, answer + RATE // 5)
    line = np.zeros(said + len(sound) + AFTER)
    line[LEAD : LEAD + len(request)] += request
    line[said : said + len(sound)] += sound
    if len(prepared.bed):
        at = np.arange(len(line) - answer - RATE // 2)
        rising = np.clip(at / (FADE_S * RATE), 0, 1)
        line[answer + RATE // 2 :] += prepared.bed[at % len(prepared.bed)] * rising
    return np.clip(line, -32768, 32767).astype(np.int16), answer, said


_made: dict[str, Any] = {}
"""What one process needs once."""


def _fresh(recogniser: str, partial_ms: int) -> Listens:
    """As a call does, it begins with a decoder of its own."""
    if recogniser == "moonshine":
        model = _made.get("model") or _made.setdefault("model", Moonshine())
        return moonshine_child.Listener(model, partial_ms * SAMPLES_PER_MS)
    if "decoder" not in _made:
        decoder = load_decoder()
        _made.update(decoder=decoder, mean=decoder.get_cmn(False))
    _made["decoder"].set_cmn(_made["mean"])
    return pocketsphinx_child.Listener(_made["decoder"], partial_ms * SAMPLES_PER_MS)


def sense(trial: Trial, recogniser: str = "pocketsphinx") -> Sensed:
    """One trial through the ear and the recogniser (`pocketsphinx` or `moonshine`)."""
    settings: Settings = _made.get("settings") or _made.setdefault("settings", load())
    prepared = prepare(trial)
    line, answer, said = track(prepared)
    ear = Ear(settings)
    asyncio.run(ear.actor.load())
    listener = _fresh(recogniser, settings.stt.partial_ms)
    session = Session(listener, looks_again=DECODERS[recogniser].looks_again)
    channel = Channel(0, [], settings.stt.preroll_ms * SAMPLES_PER_MS, LONGEST)
    channel.session = session
    events: list[tuple[float, Sense]] = []
    for first in range(0, len(line) - FRAME, FRAME):
        session.now_ms = (first + FRAME) / SAMPLES_PER_MS
        channel.look_at = settings.stt.second_look_ms * SAMPLES_PER_MS if first > answer else 0
        pcm = line[first : first + FRAME].tobytes()
        channel.frame(first, pcm)
        for mark in ear.hear(first, pcm):
            events.append((session.now_ms, mark))
            _follow(channel, session, mark, settings.audio_in.lull_ms * SAMPLES_PER_MS)
    channel.ended()  # the decoder is free for the next trial
    return Sensed(
        trial,
        (said + prepared.onset) / SAMPLES_PER_MS,
        (said + prepared.end) / SAMPLES_PER_MS,
        answer / SAMPLES_PER_MS,
        sorted([*events, *session.told], key=lambda pair: pair[0]),
        ear.short,
        ear.lasting,
    )


def _follow(channel: Channel, session: Session, mark: Mark, lull: int) -> None:
    """As stt does on what audio_in tells."""
    if isinstance(mark, SpeechStarted):
        channel.started(mark.onset)
    elif isinstance(mark, SpeechContinued):
        channel.paused(mark.onset, mark.voiced, mark.silent, lull)
    elif isinstance(mark, SpeechEnded):
        masked_at = mark.end if mark.masked else None
        channel.ended(mark.onset, mark.voiced, not mark.masked, masked_at)
        session.ended()
        channel.owed.clear()
