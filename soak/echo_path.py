"""What a loudspeaker plays goes in, the echo that a microphone in the same room hears comes out.

loudspeaker (soft clipping) → buffers and air (delay) → room (reverberation) → level → the sound
card's other clock (drift); `Microphone.record` adds the caller and noise and clips at full scale.
Deterministic: everything random comes from the room's seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import samplerate
from numpy.typing import NDArray

RATE = 16_000
FULL_SCALE = 32768.0
BLOCK = 320
"""Samples the path takes at a time: 20 ms."""
REVERB_TO_DIRECT_DB = -3.0
"""Energy of the tail against the direct sound: a microphone within arm's length of the loudspeaker."""

Floats = NDArray[np.float64]
Samples = NDArray[np.int16]


@dataclass(frozen=True)
class Room:
    """One loudspeaker, one microphone, and what is between them.

    `echo_dbfs`: RMS level of the agent's speech in the microphone. `drive_db`: how far full scale
    overdrives the loudspeaker (soft clipping; none at 0). `jump_ms` at `jump_s`: the delay changes
    by so much in the middle, as after an underrun or a change of device.
    """

    name: str
    delay_ms: float = 60.0
    rt60_s: float = 0.3
    echo_dbfs: float = -24.0
    drift_ppm: float = 0.0
    drive_db: float = 0.0
    noise_dbfs: float = -65.0
    jump_ms: float = 0.0
    jump_s: float = 0.0
    seed: int = 1


ROOMS = (
    Room("laptop", 60, 0.3, -24, 0, 0, seed=1),
    Room("desk", 120, 0.4, -20, 50, 3, seed=2),
    Room("bluetooth", 300, 0.3, -24, -100, 0, seed=3),
    Room("living room", 90, 0.6, -18, 100, 6, seed=4),
    Room("speakerphone", 20, 0.2, -14, 0, 12, seed=5),
    Room("clipping mic", 80, 0.4, -9, 20, 3, seed=6),
    Room("noisy office", 150, 0.5, -22, -50, 3, noise_dbfs=-48, seed=7),
    Room("device change", 200, 0.4, -20, -20, 0, jump_ms=-110, jump_s=4.0, seed=8),
)
"""Delays 20-300 ms, RT60 0.2-0.6 s, ±100 ppm, an overdriven loudspeaker, a clipping microphone."""


def impulse_response(rt60_s: float, seed: int) -> Floats:
    """Direct sound, then noise that has decayed by 60 dB after `rt60_s`; unit energy.

    Polack's model of late reverberation: J.-D. Polack, "La transmission de l'énergie sonore dans
    les salles", thesis, Université du Maine, 1988: Gaussian noise under exp(-3 ln(10) t / RT60).
    """
    length = int(rt60_s * RATE)
    gap = RATE // 500  # the first reflection comes 2 ms behind the direct sound
    time_s = np.arange(length) / RATE
    tail = np.random.default_rng(seed).standard_normal(length)
    tail *= np.exp(-3 * np.log(10) * time_s / rt60_s)
    tail[:gap] = 0
    tail *= np.sqrt(10 ** (REVERB_TO_DIRECT_DB / 10) / np.sum(tail**2))
    tail[0] = 1.0
    return np.asarray(tail / np.sqrt(np.sum(tail**2)))


class EchoPath:
    """Blocks of 20 ms in, about 20 ms of echo out: clocks that differ make it one sample more or less."""

    def __init__(self, room: Room, agent_dbfs: float) -> None:
        """`agent_dbfs`: RMS level of the agent's speech as it is played."""
        self.room = room
        self._gain = 10 ** ((room.echo_dbfs - agent_dbfs) / 20)
        self._drive = 10 ** (room.drive_db / 20) if room.drive_db else 0.0
        response = impulse_response(room.rt60_s, room.seed)
        self._size = 1 << (len(response) + BLOCK - 1).bit_length()
        self._response = np.fft.rfft(response, self._size)
        self._tail = np.zeros(self._size)
        self._late = np.zeros(int(room.delay_ms * RATE / 1000))
        self._clock = samplerate.Resampler("sinc_fastest", 1) if room.drift_ppm else None
        self._seen = 0

    def hear(self, played: Samples) -> Floats:
        """The echo of the next BLOCK samples played, ±1 is full scale."""
        sound = self._loudspeaker(played / FULL_SCALE)
        return self._drifted(self._delayed(self._reverberated(sound)) * self._gain)

    def _loudspeaker(self, sound: Floats) -> Floats:
        return np.tanh(self._drive * sound) / self._drive if self._drive else sound

    def _reverberated(self, sound: Floats) -> Floats:
        """Convolution by overlap-add."""
        whole = np.fft.irfft(np.fft.rfft(sound, self._size) * self._response, self._size)
        whole[: self._size - BLOCK] += self._tail[BLOCK:]
        self._tail = whole
        return np.asarray(whole[:BLOCK])

    def _delayed(self, sound: Floats) -> Floats:
        if self.room.jump_ms and self._seen == int(self.room.jump_s * RATE) // BLOCK * BLOCK:
            self._jump(int(self.room.jump_ms * RATE / 1000))
        self._seen += BLOCK
        line = np.concatenate((self._late, sound))
        self._late = line[BLOCK:]
        return line[:BLOCK]

    def _jump(self, samples: int) -> None:
        if samples < 0:
            self._late = self._late[-samples:]
        else:
            self._late = np.concatenate((np.zeros(samples), self._late))

    def _drifted(self, sound: Floats) -> Floats:
        if self._clock is None:
            return sound
        ratio = 1 + self.room.drift_ppm * 1e-6
        return np.asarray(self._clock.process(sound.astype(np.float32), ratio), np.float64)


class Ear:
    """The microphone: echo, caller and noise become int16 samples; what is too loud is clipped."""

    def __init__(self, room: Room) -> None:
        self._chance = np.random.default_rng(room.seed + 1000)
        self._noise = 10 ** (room.noise_dbfs / 20)

    def record(self, echo: Floats, caller: Floats | None = None) -> Samples:
        """As many samples as the echo has; `caller` (±1 is full scale) may be shorter."""
        sound = echo + self._noise * self._chance.standard_normal(len(echo))
        if caller is not None:
            sound[: len(caller)] += caller[: len(sound)]
        scaled = np.rint(sound * FULL_SCALE)
        return np.asarray(np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1), np.int16)


def active_dbfs(samples: Samples) -> float:
    """RMS level of speech where it is active: 32 ms frames within 25 dB of the loudest."""
    frames = samples[: len(samples) // 512 * 512].reshape(-1, 512) / FULL_SCALE
    power = np.mean(frames**2, axis=1)
    if not power.size or not power.max():
        return -100.0
    return float(10 * np.log10(np.mean(power[power > power.max() * 10**-2.5])))
