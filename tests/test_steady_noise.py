"""Steady noise goes, the voice in it stays."""

from __future__ import annotations

import numpy as np
import pytest

from engines.steady_noise import without_steady_noise
from soak import caller_set

RATE = 16_000


def db(sound: np.ndarray) -> float:
    """Level against full scale."""
    return float(10 * np.log10(np.mean(np.square(sound)) + 1e-12))


def voice() -> np.ndarray:
    """A quarter of a second of silence around somebody who says "hold on"."""
    pcm = caller_set.find("interruption", "slt", "hold on")[0].pcm()
    said = np.frombuffer(pcm, np.int16).astype(np.float32) / 32768
    return np.pad(said, RATE // 4)


@pytest.mark.parametrize("noise", ["hiss", "hum"])
def test_what_is_steady_is_taken_out_of_a_voice(noise: str) -> None:
    said = voice()
    at = np.arange(len(said)) / RATE
    hiss = np.random.default_rng(1).standard_normal(len(said))
    steady = hiss if noise == "hiss" else sum(np.sin(2 * np.pi * 50 * n * at) for n in range(1, 8))
    heard = (said + 0.01 * steady).astype(np.float32)
    made = without_steady_noise(heard)
    before = slice(RATE // 20, RATE // 5)
    assert db(made[before]) < db(heard[before]) - 6
    assert db(made) == pytest.approx(db(said), abs=1.0)
    assert db(made - said) < db(heard - said) - 1


def test_without_noise_nothing_changes() -> None:
    said = voice()
    assert np.allclose(without_steady_noise(said), said, atol=1e-6)


@pytest.mark.parametrize("samples", [0, 1, 512, 1023, 1024, 1500, 32_000])
def test_it_is_as_long_as_before(samples: int) -> None:
    sound = np.full(samples, 0.5, np.float32)
    made = without_steady_noise(sound)
    assert made.shape == sound.shape
    assert np.isfinite(made).all()
