"""In comes a trial; out go its samples: said faster or slower, in a room, over a telephone, amid noise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr

from ops import wav
from soak import caller_set
from soak.caller_set import RATE, WINDOW, audible
from soak.duplex.trials import SYNTHETIC, Trial
from soak.spectrum import band

Sound = npt.NDArray[np.float64]
BED_S = 10
AUDIBLE_DB = 26
LEAD_S = 1.0
"""Of what a recording holds before its onset, the last second is kept."""
NOISE_S = 2.5


@dataclass(frozen=True)
class Prepared:
    """What the caller says: all int16 at 16 kHz; `onset` and `end` are samples of `sound`."""

    trial: Trial
    request: wav.Samples
    sound: wav.Samples
    onset: int
    end: int
    bed: wav.Samples


def prepare(trial: Trial) -> Prepared:
    """Everything the trial's call needs, from files and the trial's own seed."""
    rng = np.random.default_rng(trial.seed)
    way = CallerChannel.of(trial, rng)
    sound, onset, end = _recorded(trial) if trial.onset >= 0 else _composed(trial, rng, way)
    request = wav.read(Path(trial.request)) / 32768.0 if trial.request else np.zeros(0)
    bed = _bed(trial, rng, way, sound[onset:end]) if trial.bed else np.zeros(0)
    return Prepared(trial, _int16(way.line(request)), _int16(sound), onset, end, _int16(bed))


@dataclass(frozen=True)
class CallerChannel:
    """What lies between a caller and the fleet: his line, the same for all of a call, and his room.

    The question before is asked into the telephone, without the room.
    """

    room: Sound
    telephone: bool

    @staticmethod
    def of(trial: Trial, rng: np.random.Generator) -> CallerChannel:
        """The trial's."""
        return CallerChannel(_echo(trial.room_s, rng), trial.telephone)

    def __call__(self, sound: Sound) -> Sound:
        """Reverberant, then narrow; no sample is shifted, half of the echo ends it."""
        return self.line(_in_room(sound, self.room) if len(self.room) else sound)

    def line(self, sound: Sound) -> Sound:
        """Only narrow."""
        return band(sound, 300, 3_400) if self.telephone and len(sound) else sound


def _recorded(trial: Trial) -> tuple[Sound, int, int]:
    """Somebody's own recording, as it is, from a second before its onset."""
    sound = wav.read(Path(trial.parts[0])) / 32768.0
    start = max(0, trial.onset - int(LEAD_S * RATE)) if trial.over_agent else 0
    end = trial.end if trial.end > 0 else max(audible(_int16(sound))[1], trial.onset + 1)
    return sound[start:], trial.onset - start, end - start


def _composed(trial: Trial, rng: np.random.Generator, way: CallerChannel) -> tuple[Sound, int, int]:
    """The parts with the gap between; onset: of the last part, where the trial's question lies."""
    parts = [_part(trial, name, rng) for name in trial.parts]
    sound, onset, end = parts[0]
    for more, more_onset, more_end in parts[1:]:
        quiet = np.zeros(max(0, trial.gap_ms * RATE // 1000 - more_onset))
        sound = np.concatenate([sound[:end], quiet, more])
        onset = end + len(quiet) + more_onset
        end = end + len(quiet) + more_end
    sound = np.clip(way(sound) * 10 ** (trial.gain_db / 20), -0.999, 0.999)
    return sound, _first_heard(sound, onset, end), end


def _first_heard(sound: Sound, onset: int, end: int) -> int:
    """The onset that is left: a telephone swallows the beginning of "stop" and of "wait".

    As in the manifest, audible is what is at most 26 dB below the level of the whole, over 5 ms.
    """
    squares = np.concatenate([[0.0], np.cumsum(sound[onset:end] ** 2)])
    power = (squares[WINDOW:] - squares[:-WINDOW]) / WINDOW
    loud = np.flatnonzero(power > squares[-1] / (end - onset) * 10 ** (-AUDIBLE_DB / 10))
    return onset + max(0, int(loud[0]) - 1) if len(loud) else onset


def _part(trial: Trial, name: str, rng: np.random.Generator) -> tuple[Sound, int, int]:
    """One clip at the trial's speed, with where it can be heard."""
    if name in SYNTHETIC:
        sound = _at_level(MAKERS[name](rng), trial.level_dbfs)
        first, last = audible(_int16(sound))
    else:
        sound = wav.read(Path(name)) / 32768.0
        first, last = audible(_int16(sound))
        sound = soxr.resample(sound, RATE * trial.speed, RATE, quality="HQ")
        first, last = int(first / trial.speed), int(last / trial.speed)
    return sound, first, min(last, len(sound))


def _echo(decay_s: float, rng: np.random.Generator) -> Sound:
    """Of an impulse, 8 dB below it: noise that falls by 60 dB in `decay_s`."""
    length = int(decay_s * RATE)
    if not length:
        return np.zeros(0)
    tail = rng.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    tail[: RATE // 200] = 0
    return np.asarray(tail * 10 ** (-8 / 20) / np.sqrt(np.sum(tail**2)))


def _in_room(sound: Sound, echo: Sound) -> Sound:
    """The direct sound and its echo, half of which goes on behind it."""
    size = 1 << int(np.ceil(np.log2(len(sound) + len(echo))))
    wet = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(echo, size), size)
    padded = np.pad(sound, (0, len(echo) // 2))
    return padded + wet[: len(padded)]


def _bed(trial: Trial, rng: np.random.Generator, way: CallerChannel, over: Sound) -> Sound:
    """Background sound without end on the same line, `snr_db` below the sound it lies under."""
    makers = {"hiss": _hiss, "hum": _hum, "babble": _babble}
    level = float(20 * np.log10(np.sqrt(np.mean(over**2)) + 1e-6)) - trial.snr_db
    return _at_level(way.line(makers[trial.bed](rng, BED_S)), level)


def _at_level(sound: Sound, dbfs: float) -> Sound:
    gain = 10 ** (dbfs / 20) / np.sqrt(np.mean(sound**2))
    return np.asarray(np.clip(sound * gain, -0.999, 0.999))


def _int16(sound: Sound) -> wav.Samples:
    return np.asarray(np.rint(np.clip(sound, -1, 1) * 32767), np.int16)


# -- noises made on the spot ------------------------------------------------------------------------


def _hiss(rng: np.random.Generator, seconds: float) -> Sound:
    """Noise whose power falls with the frequency, as in a street or an office."""
    spectrum = np.fft.rfft(rng.standard_normal(int(seconds * RATE)))
    spectrum /= np.sqrt(np.arange(1, len(spectrum) + 1))
    return np.asarray(np.fft.irfft(spectrum, int(seconds * RATE)))


def _hum(rng: np.random.Generator, seconds: float) -> Sound:
    """A fan: mains harmonics with a little hiss."""
    time = np.arange(int(seconds * RATE)) / RATE
    tones = [np.sin(2 * np.pi * 50 * n * time + rng.uniform(0, 6)) / n for n in range(1, 9)]
    hiss = _hiss(rng, seconds)
    return np.asarray(np.sum(tones, axis=0) + 2 * hiss / np.std(hiss))


def _babble(rng: np.random.Generator, seconds: float = NOISE_S) -> Sound:
    """Six voices that talk at once without an end."""
    clips = [c for c in caller_set.load() if c.kind in ("question", "long_request")]
    sound = np.zeros(int(seconds * RATE))
    for _ in range(6):
        said: list[Sound] = []
        while sum(map(len, said)) < 2 * len(sound):
            said.append(wav.read(clips[rng.integers(len(clips))].path) / 32768.0)
        talk = np.concatenate(said)
        start = rng.integers(len(talk) - len(sound))
        sound += talk[start : start + len(sound)]
    return sound


def _music(rng: np.random.Generator) -> Sound:
    """Three chords, a drum on each beat: a radio behind the caller."""
    time = np.arange(int(NOISE_S * RATE)) / RATE
    roots = rng.permutation([110.0, 146.8, 164.8])
    root = roots[np.minimum((time / 0.85).astype(int), 2)]
    phase = 2 * np.pi * np.cumsum(root) / RATE
    chord = sum(np.sin(ratio * phase) / ratio for ratio in (1, 1.25, 1.5, 2, 2.5, 3, 4))
    beat = time % 0.425
    drum = np.sin(2 * np.pi * 70 * beat) * np.exp(-beat / 0.05)
    snare = rng.standard_normal(len(time)) * np.exp(-beat / 0.02)
    return np.asarray(chord * 0.5 + 1.5 * drum + 0.7 * snare)


def _ring(rng: np.random.Generator) -> Sound:
    """A telephone rings twice."""
    time = np.arange(int(NOISE_S * RATE)) / RATE
    tone = np.sin(2 * np.pi * 440 * time) + np.sin(2 * np.pi * 480 * time)
    trill = 0.6 + 0.4 * np.sign(np.sin(2 * np.pi * rng.uniform(18, 24) * time))
    return np.asarray(tone * trill * (time % 1.4 < 0.8))


MAKERS = {"music": _music, "babble": _babble, "ring": _ring}
