"""A clip as it may arrive: faster, in a room, over a telephone, amid noise; the sound of it comes out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engines.floor import RATE
from ops import wav
from soak.spectrum import band

Sound = npt.NDArray[np.float64]
LEVEL = 0.1
LONGEST_S = 1.6


def spoiled(sound: Sound, others: Sequence[wav.Samples], rng: np.random.Generator) -> Sound | None:
    """Of samples within ±1 at 16 kHz, with what surrounds them; None when they are too many or too few."""
    speed = rng.uniform(0.88, 1.14)
    sound = np.interp(
        np.arange(int(len(sound) / speed)) * speed, np.arange(len(sound)), sound
    ).astype(np.float64)
    if not RATE // 10 < len(sound) < RATE * LONGEST_S:
        return None
    sound *= LEVEL / np.sqrt(np.mean(sound**2) + 1e-12)
    before, behind = int(rng.uniform(0.15, 0.5) * RATE), int(rng.uniform(-0.06, 0.6) * RATE)
    sound = np.pad(sound, (before, max(0, behind)))[: len(sound) + before + behind]
    if rng.random() < 0.5:
        sound = through_microphone(sound, rng)
    if rng.random() < 0.4:
        sound = in_room(sound, rng)
    if rng.random() < 0.5:
        sound = sound + bed(len(sound), others, rng) * 10 ** (-rng.uniform(8, 28) / 20)
    sound = sound + rng.standard_normal(len(sound)) * LEVEL * 10 ** (-rng.uniform(30, 60) / 20)
    if rng.random() < 0.5:
        sound = over_telephone(sound, rng)
    return sound


def through_microphone(sound: Sound, rng: np.random.Generator) -> Sound:
    """Up to 8 dB more or less of each octave, now and then too loud for it."""
    spectrum, hz = np.fft.rfft(sound), np.fft.rfftfreq(len(sound), 1 / RATE)
    octaves = np.log2(np.maximum(hz, 60) / 60)
    spectrum *= 10 ** (np.interp(octaves, np.arange(8), rng.uniform(-8, 8, 8)) / 20)
    sound = np.fft.irfft(spectrum, len(sound))
    sound *= LEVEL / np.sqrt(np.mean(sound**2) + 1e-12)
    return np.clip(sound, -2.5 * LEVEL, 2.5 * LEVEL) if rng.random() < 0.15 else sound


def in_room(sound: Sound, rng: np.random.Generator) -> Sound:
    """With an echo of noise that falls by 60 dB within 120 to 600 ms, 4 to 12 dB below the voice."""
    length = int(rng.uniform(0.12, 0.6) * RATE)
    tail = rng.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    tail[: RATE // 200] = 0
    tail *= 10 ** (-rng.uniform(4, 12) / 20) / np.sqrt(np.sum(tail**2))
    size = 1 << int(np.ceil(np.log2(len(sound) + length)))
    echo = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(tail, size), size)
    return np.asarray(sound + echo[: len(sound)])


def over_telephone(sound: Sound, rng: np.random.Generator) -> Sound:
    """150-330 to 3200-3700 Hz, a little noise of the line, half of them in the 8 bits of ITU-T G.711."""
    sound = band(sound, rng.uniform(150, 330), rng.uniform(3200, 3700))
    sound = sound + rng.standard_normal(len(sound)) * 1e-4
    return companded(sound) if rng.random() < 0.5 else np.asarray(sound)


def companded(sound: Sound) -> Sound:
    """By the mu-law of ITU-T G.711, without its linear pieces: sign(x) ln(1 + 255 |x|) / ln 256."""
    code = np.rint(
        127 * np.sign(sound) * np.log1p(255 * np.minimum(np.abs(sound), 1)) / np.log(256)
    )
    return np.asarray(np.sign(code) * np.expm1(np.abs(code) / 127 * np.log(256)) / 255)


def bed(length: int, others: Sequence[wav.Samples], rng: np.random.Generator) -> Sound:
    """Hiss, hum or six people, as loud as a voice."""
    kind = rng.integers(3)
    sound = babble(length, others, rng) if kind == 0 else hiss(length, rng)
    if kind == 1:
        time = np.arange(length) / RATE
        hum = sum(np.sin(2 * np.pi * 50 * n * time + rng.uniform(0, 6)) / n for n in range(1, 9))
        sound = hum + 2 * sound / np.std(sound)
    return np.asarray(sound * LEVEL / np.std(sound))


def hiss(length: int, rng: np.random.Generator) -> Sound:
    """Noise whose power falls with the frequency."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    spectrum /= np.sqrt(np.arange(1, len(spectrum) + 1))
    return np.asarray(np.fft.irfft(spectrum, length))


def babble(length: int, others: Sequence[wav.Samples], rng: np.random.Generator) -> Sound:
    """Six of the other voices at once."""
    sound = np.zeros(length)
    for _ in range(6):
        talk = np.zeros(0)
        while len(talk) < length + RATE // 2:
            talk = np.concatenate([talk, others[int(rng.integers(len(others)))] / 32768])
        start = rng.integers(len(talk) - length)
        sound += talk[start : start + length]
    return sound


def no_voice(others: Sequence[wav.Samples], rng: np.random.Generator) -> Sound:
    """Half a second or so of babble, of music, of something that falls over."""
    length = int(rng.uniform(0.3, 1.25) * RATE)
    kind = rng.integers(4)
    if kind < 2:
        return babble(length, others, rng)
    time = np.arange(length) / RATE
    if kind == 2:
        root = rng.uniform(90, 400)
        ratios = rng.choice([1, 1.25, 1.5, 2, 2.5, 3, 4, 5], 5)
        chord = sum(np.sin(2 * np.pi * root * ratio * time + rng.uniform(0, 6)) for ratio in ratios)
        beat = time % rng.uniform(0.2, 0.5)
        drum = 1.5 * np.sin(2 * np.pi * 70 * beat) * np.exp(-beat / 0.05)
        return np.asarray(
            chord / 4 + drum + 0.7 * rng.standard_normal(length) * np.exp(-beat / 0.02)
        )
    knock = hiss(length, rng) * np.exp(-time / rng.uniform(0.03, 0.3))
    return np.asarray(np.convolve(knock, rng.standard_normal(200) * np.hanning(200), "same"))
