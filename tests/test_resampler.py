"""The resampler: what is in the band comes through, what is not does not, however it is cut."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.resampler import Resampler

RATES = [(24_000, 16_000), (22_050, 16_000), (22_050, 8000), (8000, 16_000), (16_000, 44_100)]
LEVEL = 12_000


def tone(hz: float, rate: int, count: int) -> npt.NDArray[np.float64]:
    return LEVEL * np.sin(2 * np.pi * hz * np.arange(count) / rate)


def through(rates: tuple[int, int], sound: npt.NDArray[np.float64], cut: int = 4410) -> bytes:
    line, pcm = Resampler(*rates), np.rint(sound).astype(np.int16).tobytes()
    parts = [line.push(pcm[at : at + 2 * cut], False) for at in range(0, len(pcm), 2 * cut)]
    return b"".join(parts) + line.push(b"", True)


def samples(pcm: bytes) -> npt.NDArray[np.float64]:
    return np.frombuffer(pcm, np.int16).astype(float)


def power_db(sound: npt.NDArray[np.float64]) -> float:
    return float(10 * np.log10(np.mean(sound[300:-300] ** 2) + 1e-9))


@pytest.mark.parametrize("rates", RATES)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7])
def test_a_tone_of_the_band_comes_through_in_place(rates: tuple[int, int], share: float) -> None:
    """75 dB above what is not the same tone at the same time."""
    hz = share * min(rates) / 2
    out = samples(through(rates, tone(hz, rates[0], rates[0])))
    assert len(out) == rates[1]
    wanted = tone(hz, rates[1], len(out))
    assert power_db(out - wanted) < power_db(wanted) - 75


@pytest.mark.parametrize("rates", [pair for pair in RATES if pair[0] > pair[1]])
def test_what_the_lower_rate_cannot_carry_is_not_heard(rates: tuple[int, int]) -> None:
    sound = tone(1.1 * rates[1] / 2, rates[0], rates[0])
    assert power_db(samples(through(rates, sound))) < power_db(sound) - 75


@given(
    st.sampled_from(RATES),
    st.lists(st.integers(0, 1500), max_size=12),
    st.integers(0, 99),
)
def test_stretches_of_any_length_are_one_sound(
    rates: tuple[int, int], lengths: list[int], seed: int
) -> None:
    sound = np.random.default_rng(seed).integers(-9000, 9000, sum(lengths)).astype(np.int16)
    line, at, out = Resampler(*rates), 0, b""
    for length in lengths:
        out += line.push(sound[at : at + length].tobytes(), False)
        at += length
        lag_ms = 1000 * (at / rates[0] - len(out) / 2 / rates[1])
        assert lag_ms <= 1000 * 21 / min(rates)
    out += line.push(b"", True)
    whole = Resampler(*rates).push(sound.tobytes(), True)
    assert len(out) == len(whole) == 2 * math.ceil(len(sound) * rates[1] / rates[0])
    assert np.abs(samples(out) - samples(whole)).max(initial=0) <= 1


def test_too_loud_a_sound_is_clipped_not_turned_over() -> None:
    square = np.where(np.arange(24_000) // 60 % 2, 32767.0, -32768.0)
    out = samples(through((24_000, 16_000), square))
    assert out.max() == 32767
    assert out.min() == -32768
    assert np.all((out[::1] > 0) == (samples(through((24_000, 16_000), square / 2)) > 0))


def test_rates_with_little_in_common_are_brought_together_too() -> None:
    rates = (16_001, 16_000)
    out = samples(through(rates, tone(440, rates[0], rates[0])))
    assert power_db(out) == pytest.approx(power_db(tone(440, 16_000, 16_000)), abs=0.5)
