"""In comes the shipped caller audio; checked is that the manifest tells the truth about it."""

from __future__ import annotations

import hashlib
import wave

import numpy as np
import pytest

from soak.caller_set import FOLDER, RATE, Clip, audible, find, load

CLIPS = load()
SPOKEN = ("question", "long_request", "interruption", "backchannel")


def _samples(clip: Clip) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    return np.frombuffer(clip.pcm(), "<i2")


def test_manifest_and_folder_list_the_same_files() -> None:
    listed = [clip.file for clip in CLIPS]
    assert len(set(listed)) == len(listed)
    assert set(listed) == {path.name for path in FOLDER.glob("*.wav")}


def test_the_folder_stays_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.glob("*")) < 5_000_000


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.file)
def test_a_clip_is_what_the_manifest_says(clip: Clip) -> None:
    assert hashlib.sha256(clip.path.read_bytes()).hexdigest() == clip.sha256
    with wave.open(str(clip.path)) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (RATE, 1, 2)
        assert sound.getnframes() * 2 == len(clip.pcm())
    samples = _samples(clip)
    assert audible(samples) == (clip.onset_sample, clip.end_sample)
    assert 0 < clip.onset_sample < clip.end_sample < len(samples)
    assert clip.onset_sample <= RATE // 10
    assert len(samples) - clip.end_sample <= RATE // 10


@pytest.mark.parametrize("kind", SPOKEN)
def test_every_kind_of_speech_has_four_voices(kind: str) -> None:
    assert {clip.voice for clip in find(kind)} >= {"slt", "awb", "rms", "kal16"}


def test_every_backchannel_has_four_voices() -> None:
    for text in {clip.text for clip in find("backchannel")}:
        assert len(find("backchannel", text=text)) >= 4


@pytest.mark.parametrize("name", ["cough", "door knock", "keyboard", "breath", "white burst"])
def test_noises_are_there(name: str) -> None:
    (clip,) = find("noise", text=name)
    assert clip.seconds > 0.2


@pytest.mark.parametrize("kind", SPOKEN)
def test_speech_has_a_natural_level(kind: str) -> None:
    for clip in find(kind):
        heard = _samples(clip)[clip.onset_sample : clip.end_sample] / 32768.0
        assert -26 < 10 * np.log10(np.mean(heard**2)) < -18, clip.file


@pytest.mark.parametrize("kind", ["question", "long_request", "interruption"])
def test_one_clip_is_one_turn(kind: str) -> None:
    for clip in find(kind):
        assert _longest_pause_ms(clip) < 250, clip.file


def _longest_pause_ms(clip: Clip) -> float:
    heard = _samples(clip)[clip.onset_sample : clip.end_sample] / 32768.0
    power = np.convolve(heard**2, np.ones(160) / 160, mode="same")
    loud = np.flatnonzero(power > 10 ** (-46 / 10))
    return float(np.diff(loud).max()) / RATE * 1000


def test_find_narrows_by_kind_voice_and_text() -> None:
    assert {clip.kind for clip in find("noise")} == {"noise"}
    (clip,) = find("question", "rms", "what time is it")
    assert clip.path.exists()
    assert clip.pocketsphinx == "what time is it"
    assert find("question", "nobody") == []


def test_silence_is_not_audible() -> None:
    assert audible(np.zeros(RATE, np.int16)) == (0, 0)
