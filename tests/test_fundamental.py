"""The pitch of a narrow line comes back; full sound, silence and ragged packets come through whole."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.fundamental import BLOCK, GAIN, Fundamental, restored

RATE = 16_000
PITCH_HZ = 125


def power_db(sound: npt.NDArray[np.int16], low_hz: float, high_hz: float) -> float:
    """Of a band, against an arbitrary reference."""
    spectrum = np.abs(np.fft.rfft(sound.astype(float))) ** 2
    hz = np.fft.rfftfreq(len(sound), 1 / RATE)
    return float(10 * np.log10(spectrum[(hz >= low_hz) & (hz < high_hz)].sum() + 1e-9))


def buzz(low_hz: float) -> npt.NDArray[np.int16]:
    """A voice-like sound of 125 Hz whose harmonics below `low_hz` were filtered off."""
    at = np.arange(RATE) / RATE
    tones = [np.sin(2 * np.pi * hz * at) for hz in range(PITCH_HZ, 3400, PITCH_HZ) if hz > low_hz]
    sound = np.sum(tones, axis=0)
    return np.asarray(sound / np.abs(sound).max() * 8000, np.int16)


def through(sound: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    return np.frombuffer(Fundamental().push(sound.tobytes()), np.int16)


def test_the_missing_pitch_comes_back() -> None:
    narrow = buzz(300)
    around = (PITCH_HZ - 20, PITCH_HZ + 20)
    voice = power_db(narrow, 300, 3400)
    assert power_db(narrow, *around) < voice - 60
    assert power_db(through(narrow), *around) > voice - 15
    louder_db = power_db(through(narrow), 400, 3400) - power_db(narrow, 400, 3400)
    assert louder_db == pytest.approx(20 * np.log10(GAIN), abs=1)


def test_silence_stays_silence_and_nothing_overflows() -> None:
    assert not through(np.zeros(RATE, np.int16)).any()
    loud = np.where(np.arange(RATE) % 128 < 64, 32767, -32768).astype(np.int16)
    assert len(through(loud)) == RATE


@given(st.lists(st.integers(0, 700), max_size=30), st.integers(0, 99))
def test_packets_of_any_length_are_one_sound(lengths: list[int], seed: int) -> None:
    sound = np.random.default_rng(seed).integers(-9000, 9000, sum(lengths)).astype(np.int16)
    line, at, out = Fundamental(), 0, b""
    for length in lengths:
        out += line.push(sound[at : at + length].tobytes())
        at += length
        assert 0 <= at - len(out) // 2 < BLOCK
    parts = np.frombuffer(out, np.int16).astype(int)  # sums in another order: one step at most
    assert np.abs(parts - through(sound)[: len(parts)]).max(initial=0) <= 1


def test_channels_that_are_heard_together_are_what_each_is_alone() -> None:
    sound = np.random.default_rng(2).integers(-9000, 9000, (5, 7, 512)).astype(np.int16)
    channels = [Fundamental() for _ in sound]
    together = np.hstack([restored(channels, sound[:, n].astype(np.float32)) for n in range(7)])
    for row, alone in zip(together, sound, strict=True):
        assert np.array_equal(row, through(alone.ravel()))
