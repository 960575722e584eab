"""Bad input through the real detector, segmenter and rules: offsets, clipping, a telephone, two people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import soxr

from actors.ear import To16k
from actors.fundamental import Fundamental
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
from actors.turn_state import Patience, Phrases, Rules
from engines.energy import level_dbfs, sound_dbfs
from engines.vad_silero import PysileroVad
from schemas import CallOpened, Event, SpeechContinued, SpeechEnded, SpeechStarted
from soak import caller_set
from tests.talk import CALL, Talk, fin, finished, part, played, says

Sound = npt.NDArray[np.int16]
RATE = 16_000


@pytest.fixture(scope="module")
def vad() -> PysileroVad:
    made = PysileroVad()
    made.load()
    return made


def marks(vad: PysileroVad, sound: Sound) -> list[tuple[int, Mark]]:
    """What is told of it, and at which sample, with the default settings."""
    segmenter, pcm = Segmenter(Thresholds()), sound.tobytes()
    windows = [
        Window((n + 1) * WINDOW, p, sound_dbfs(pcm[2 * WINDOW * n : 2 * WINDOW * (n + 1)]))
        for n, p in enumerate(vad.open().push(Fundamental().push(pcm)))
    ]
    told = ((window.end, mark) for window in windows for mark in segmenter.push(window))
    return [(end, mark) for end, mark in told if not isinstance(mark, Rose)]


def events(vad: PysileroVad, sound: Sound) -> list[tuple[int, Event]]:
    """The same as the rules hear it, at which ms."""
    return [(end // 16, event(mark)) for end, mark in marks(vad, sound)]


def event(mark: Mark) -> Event:
    match mark:
        case Started():
            return SpeechStarted(call=CALL, onset=mark.onset)
        case Continued():
            return SpeechContinued(
                call=CALL,
                onset=mark.onset,
                end=mark.window.end,
                voiced=mark.voiced,
                silent=mark.silent,
            )
        case Ended():
            return SpeechEnded(call=CALL, onset=mark.onset, end=mark.end, voiced=mark.voiced)
        case Rose():
            raise AssertionError("the rules do not hear of it")


def question() -> Sound:
    """ "What is twelve times seven", 0.5 s of silence before it, 1 s after it."""
    clip = caller_set.find("question", text="what is twelve times seven")[0]
    return padded(np.frombuffer(clip.pcm(), np.int16))


def padded(sound: Sound) -> Sound:
    return np.concatenate([np.zeros(8000, np.int16), sound, np.zeros(RATE, np.int16)])


def spoilt(change: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]) -> Sound:
    """The question after `change`, clipped to what 16 bits hold."""
    return np.clip(change(question().astype(float)), -32768, 32767).astype(np.int16)


def seconds(sound: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.arange(len(sound)) / RATE


SPOILT: dict[str, Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]] = {
    "an offset": lambda sound: sound + 4000,
    "an offset near the limit": lambda sound: sound + 20_000,
    "an offset that wanders": lambda sound: sound + 8000 * np.sin(np.pi * seconds(sound)),
    "mains hum": lambda sound: sound + 3000 * np.sin(100 * np.pi * seconds(sound)),
    "clipped by 18 dB": lambda sound: sound * 8,
    "30 dB too quiet": lambda sound: sound / 30,
}


@pytest.mark.parametrize("name", SPOILT)
def test_speech_is_found_where_it_is(vad: PysileroVad, name: str) -> None:
    """One utterance, its ends within 100 ms of the clean ones."""
    (onset, end), (clean_onset, clean_end) = span(vad, spoilt(SPOILT[name])), span(vad, question())
    assert abs(onset - clean_onset) <= 1600
    assert abs(end - clean_end) <= 1600


def span(vad: PysileroVad, sound: Sound) -> tuple[int, int]:
    told = [mark for _, mark in marks(vad, sound)]
    (began,) = [mark for mark in told if isinstance(mark, Started)]
    (ended,) = [mark for mark in told if isinstance(mark, Ended)]
    return began.onset, ended.end


def test_a_telephone_s_band_is_enough(vad: PysileroVad) -> None:
    """300 to 3400 Hz at 8 kHz, as the line sends it: frames of 20 ms."""
    narrow = soxr.resample(question().astype(float), RATE, 8000)
    spectrum, hertz = np.fft.rfft(narrow), np.fft.rfftfreq(len(narrow), 1 / 8000)
    spectrum[(hertz < 300) | (hertz > 3400)] = 0
    sent = np.fft.irfft(spectrum, len(narrow)).astype(np.int16)
    ear = To16k(8000)
    heard = b"".join(
        ear.push(at, sent[at : at + 160].tobytes())[1] for at in range(0, len(sent), 160)
    )
    (onset, end), (clean_onset, clean_end) = (
        span(vad, np.frombuffer(heard, np.int16)),
        span(vad, question()),
    )
    assert abs(onset - clean_onset) <= 2400
    assert abs(end - clean_end) <= 2400


NOTHING: dict[str, Sound] = {
    "silence": np.zeros(10 * RATE, np.int16),
    "an offset": np.full(10 * RATE, 12_000, np.int16),
    "an offset that jumps": np.repeat([0, 12_000] * 10, RATE // 2).astype(np.int16),
    "mains hum": (4000 * np.sin(100 * np.pi * np.arange(10 * RATE) / RATE)).astype(np.int16),
    "hiss": np.random.default_rng(1).normal(0, 300, 10 * RATE).astype(np.int16),
}


@pytest.mark.parametrize("name", NOTHING)
def test_what_is_no_voice_begins_nothing(vad: PysileroVad, name: str) -> None:
    assert marks(vad, NOTHING[name]) == []


def test_an_offset_is_no_level() -> None:
    """With one, silence would pass `audio_in.min_level_dbfs`, and every level would be wrong."""
    silent = np.full(WINDOW, 12_000, np.int16).tobytes()
    assert (level_dbfs(silent) > -10, sound_dbfs(silent)) == (True, -100.0)
    tone = (1000 * np.sin(np.arange(WINDOW) * np.pi / 32)).astype(np.int16)
    assert abs(sound_dbfs((tone + 12_000).tobytes()) - level_dbfs(tone.tobytes())) < 0.1


# -- through the rules ---------------------------------------------------------------------------

PATIENCE = Patience(800, 15_000, 2000, 3000, 5000, idle_ms=10_000)
PHRASES = Phrases("pardon", "one moment", "sorry", "hello?", "goodbye")
RULES = Rules(drafts=3, patience=PATIENCE, phrases=PHRASES, max_turn_ms=6000)


def endless() -> Sound:
    """20 s of speech without a pause worth the name."""
    clips = [np.frombuffer(clip.pcm(), np.int16) for clip in caller_set.find("long_request")]
    return np.concatenate(clips * 10)[: 20 * RATE]


def test_a_caller_who_never_stops_is_answered_at_the_limit(vad: PysileroVad) -> None:
    talk = Talk(rules=RULES)
    told = events(vad, endless())
    onset = next(e.onset for _, e in told if isinstance(e, SpeechStarted))
    assert not any(isinstance(e, SpeechEnded) for at, e in told if at < 7000)
    for at_ms, happened in told:
        if at_ms < 7000:
            talk.tell(at_ms, happened, part(onset // 16, "and on and on"))
    assert [word.split(":")[0] for word in talk.told] == ["turn 1", "respond 1"]


def test_a_caller_who_never_stops_and_is_not_understood_is_told_so_once(vad: PysileroVad) -> None:
    talk = Talk(rules=replace(RULES, patience=replace(PATIENCE, no_words_ms=5000)))
    for at_ms, happened in events(vad, endless()):
        talk.tell(at_ms, happened)
    assert talk.told[:3] == ["tripped no_words", "turn 1: ", "respond 1: pardon"]
    assert sum(word.startswith("respond") for word in talk.told) == 1


def test_silence_for_ever_is_asked_about_and_hung_up_on(vad: PysileroVad) -> None:
    talk = Talk(rules=RULES)
    talk.tell(0, CallOpened(call=CALL, line="test"))
    assert events(vad, NOTHING["silence"]) == []
    for turn, at_ms, text in ((1, 10_100, "hello?"), (2, 21_000, "goodbye")):
        talk.tell(at_ms, *says(turn, text))
        talk.tell(at_ms + 400, finished(turn), played(turn, 200, ended=True))
    talk.tell(600_000)
    assert talk.told[-1] == "hang up"
    assert talk.rules.deadline_ns is None


def test_two_people_at_once_are_one_turn(vad: PysileroVad) -> None:
    """A second voice from the middle of the question on: one stretch, one answer."""
    first = question().astype(float)
    other = caller_set.find("question", "kal16")[0]
    second = np.frombuffer(other.pcm(), np.int16).astype(float)
    both = np.zeros(max(len(first), 16_000 + len(second) + RATE))
    both[: len(first)] += first
    both[16_000 : 16_000 + len(second)] += second
    talk = Talk(rules=RULES)
    told = events(vad, np.clip(both, -32768, 32767).astype(np.int16))
    for at_ms, happened in told:
        talk.tell(at_ms, happened)
        if isinstance(happened, SpeechEnded):
            talk.tell(at_ms, fin(happened.onset // 16, "what is the time seven"))
    talk.tell(told[-1][0] + 2000)
    assert [word for word in talk.told if word.startswith("turn")] == [
        "turn 1: what is the time seven"
    ]
    assert sum(word.startswith(("respond", "draft")) for word in talk.told) == 1
