"""A telephone's sound goes in; what the telephone took from the voice is put back. Pure; numpy alone.

It passes 300 to 3400 Hz. A recogniser that learnt from microphones misses what is below and above, and
hears "hm" for "tell me a story". A small network tells from the bands that are left, in 48 ms, how loud
those that are missing would be; noise of that loudness is added (artificial bandwidth extension). Of 241
words of questions 95 % were wrong without it, 21 % with it, and 6 % are in full band
(docs/decisions/0011-a-telephone-made-wide.md). Sound that is not narrow comes out as it went in.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
RATE = 16_000
WINDOW, HOP = 512, 256
"""Samples: half of each window is the next one's."""
CONTEXT = 3
"""Windows that the network looks at."""
LOW_HZ, HIGH_HZ = 300.0, 3400.0
"""What a telephone passes."""
INSIDE = 16
"""Bands of that, at equal distances in mel."""
BELOW_HZ = (60.0, 190.0, 300.0)
ABOVE = 9
"""Bands above, up to TOP_HZ, at equal distances in mel."""
TOP_HZ = 7600.0
EMPTY_HZ = (4200.0, 7000.0)
NARROW_DB = 58.0
"""It is narrow while the loudest of EMPTY_HZ is so far below the loudest of what a telephone passes.

Of 219 shipped clips in full band it was 1 to 52 dB below, over telephones 65 to 88.
"""
CLICK = 3
"""Windows in a row that are as loud: one click, of sound that was lost, is in two."""
SCALE_DB = 20.0
"""The network counts in tens of decibels, twice."""
QUIET = 1e-9
SHIPPED = Path(__file__).with_name("models") / "wide_band.npz"

_TAPER = np.sqrt(np.hanning(WINDOW + 1)[:-1])
_HZ = np.fft.rfftfreq(WINDOW, 1 / RATE)


def _bands(edges: npt.ArrayLike) -> Numbers:
    """[bands, WINDOW // 2 + 1]: 1 where a frequency lies in the band."""
    low, high = np.asarray(edges)[:-1, None], np.asarray(edges)[1:, None]
    return np.asarray((low <= _HZ) & (high > _HZ), np.float64)


def _in_mel(low_hz: float, high_hz: float, count: int) -> Numbers:
    """Edges at equal distances in mel, 2595 log10(1 + f / 700)."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (low_hz, high_hz))
    return np.asarray(700 * (10 ** (np.linspace(low, high, count + 1) / 2595) - 1))


PASSED = _bands(_in_mel(LOW_HZ, HIGH_HZ, INSIDE))
MISSING = np.concatenate([_bands(BELOW_HZ), _bands(_in_mel(HIGH_HZ, TOP_HZ, ABOVE))])
_INSIDE, _EMPTY = _bands((LOW_HZ, HIGH_HZ))[0], _bands(EMPTY_HZ)[0]
INPUTS, OUTPUTS = CONTEXT * INSIDE, len(MISSING)


def power(window: Numbers) -> Numbers:
    """[…, WINDOW // 2 + 1] of samples within ±1."""
    return np.asarray(np.abs(np.fft.rfft(window * _TAPER)) ** 2)


def levels_db(spectrum: Numbers, bands: Numbers) -> Numbers:
    """[…, bands]: the mean power of each band, in dB."""
    mean = spectrum @ bands.T / bands.sum(axis=1)
    return np.asarray(10 * np.log10(mean + QUIET * WINDOW))


class Network:
    """Two hidden layers. Raises OSError or ValueError (KeyError: an array is missing) for a bad file."""

    def __init__(self, path: Path = SHIPPED) -> None:
        with np.load(path, allow_pickle=False) as file:
            self._layers = [
                (file[f"weights{n}"].astype(np.float64), file[f"bias{n}"].astype(np.float64))
                for n in range(3)
            ]
        if (self._layers[0][0].shape[0], len(self._layers[2][1])) != (INPUTS, OUTPUTS):
            raise ValueError(
                f"{path} is of another network: make it anew, see soak/train_wide_band.py"
            )

    def __call__(self, seen: Numbers) -> Numbers:
        """[INPUTS] to [OUTPUTS], both against the mean level of the newest window, in SCALE_DB."""
        x = seen
        for number, (weights, bias) in enumerate(self._layers):
            x = x @ weights + bias
            if number < 2:
                x = np.maximum(x, 0)
        return np.asarray(x)


@cache
def shipped() -> Network:
    """The one that is shipped, read once."""
    return Network()


@cache
def _phases() -> Numbers:
    """Phases of the noise, for 64 windows in turn: the same sound always becomes the same."""
    return np.asarray(np.exp(2j * np.pi * np.random.default_rng(0).random((64, len(_HZ)))))


class WideBand:
    """One utterance. What comes out trails what goes in by 256 to 511 samples until `flush`."""

    def __init__(self, network: Network | None = None) -> None:
        self._network = network or shipped()
        self._rest = b""
        self._before = np.zeros(HOP)
        self._past: list[Numbers] = []
        self._noise = np.zeros(HOP)
        self._count = 0
        self._inside = self._empty = 0.0
        self._lately = [np.inf] * CLICK

    @property
    def narrow(self) -> bool:
        """Whether it seems to be a telephone's, by all that was heard of it."""
        return self._empty < self._inside * 10 ** (-NARROW_DB / 10)

    def push(self, pcm: bytes) -> bytes:
        """Mono int16 PCM, 16 kHz, of any length; the same of all that is complete."""
        self._rest += pcm
        made = []
        while len(self._rest) >= 2 * HOP:
            made.append(self._next(self._rest[: 2 * HOP]))
            self._rest = self._rest[2 * HOP :]
        if self._count == len(made) and made:
            del made[0]  # what came before the first sample
        return b"".join(made)

    def flush(self) -> bytes:
        """What is left. An utterance ends with it."""
        pending = min(self._count, 1) * 2 * HOP + len(self._rest)
        return self.push(bytes(4 * HOP - len(self._rest)))[:pending]

    def _next(self, pcm: bytes) -> bytes:
        """With the next HOP samples those before them are complete."""
        sound = np.frombuffer(pcm, np.int16) / 32768.0
        noise = self._missing(np.concatenate([self._before, sound])) if self._count else None
        made, self._before = self._before, sound
        if noise is None:
            added, self._noise = self._noise, np.zeros(HOP)
        else:
            added, self._noise = self._noise + noise[:HOP], noise[HOP:]
        self._count += 1
        whole = np.rint((made + added) * 32768)
        return np.clip(whole, -32768, 32767).astype(np.int16).tobytes()

    def _missing(self, window: Numbers) -> Numbers | None:
        """Noise for a window: what its missing bands lack; None when it is not narrow.

        Of noise with the spectrum of a tapered window, the power is half: the taper's mean square.
        """
        spectrum = power(window)
        self._lately = [*self._lately[1:], float(spectrum @ _EMPTY)]
        self._empty = max(self._empty, min(self._lately))
        self._inside = max(self._inside, float(spectrum @ _INSIDE))
        seen = levels_db(spectrum, PASSED)
        self._past = [*self._past, seen][-CONTEXT:] if self._past else [seen] * CONTEXT
        if not self.narrow:
            return None
        mean = seen.mean()
        told = self._network((np.concatenate(self._past) - mean) / SCALE_DB) * SCALE_DB + mean
        there = spectrum @ MISSING.T / MISSING.sum(axis=1)
        lacks = np.maximum(10 ** (told / 10) - there, 0) @ MISSING
        return np.asarray(np.fft.irfft(np.sqrt(2 * lacks) * _phases()[self._count % 64]) * _TAPER)
