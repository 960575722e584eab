"""Levels of known sounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.energy import SILENCE_DBFS, level_dbfs, sound_dbfs, sounds_dbfs


def _pcm(samples: object) -> bytes:
    return np.asarray(samples).astype("<i2").tobytes()


@pytest.mark.parametrize("pcm", [b"", bytes(640)])
def test_silence_is_the_floor(pcm: bytes) -> None:
    assert level_dbfs(pcm) == SILENCE_DBFS == -100.0


def test_a_full_scale_square_wave_is_zero() -> None:
    assert level_dbfs(_pcm([-32768] * 320)) == 0.0


def test_a_full_scale_sine_is_three_db_less() -> None:
    sine = 32767 * np.sin(2 * np.pi * np.arange(1600) / 16)
    assert level_dbfs(_pcm(sine)) == pytest.approx(-3.01, abs=0.01)


def test_a_tenth_is_twenty_db_less() -> None:
    assert level_dbfs(_pcm([20000])) - level_dbfs(_pcm([2000])) == pytest.approx(20.0)


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of element size"):
        level_dbfs(b"\x00\x01\x02")


@given(st.lists(st.integers(-32768, 32767), max_size=50))
def test_any_sound_lies_between_floor_and_full_scale(samples: list[int]) -> None:
    assert SILENCE_DBFS <= level_dbfs(_pcm(samples)) <= 0.0


@given(st.lists(st.integers(-16000, 16000), min_size=1, max_size=50))
def test_twice_the_sound_is_never_quieter(samples: list[int]) -> None:
    assert level_dbfs(_pcm(np.array(samples) * 2)) >= level_dbfs(_pcm(samples))


@given(st.lists(st.integers(-32768, 32767), min_size=4, max_size=4), st.integers(0, 99))
def test_rows_have_the_levels_that_each_has_alone(offsets: list[int], seed: int) -> None:
    noise = np.random.default_rng(seed).integers(-900, 900, (4, 512)) + np.array(offsets)[:, None]
    rows = np.clip(noise, -32768, 32767).astype("<i2")
    assert sounds_dbfs(rows) == [sound_dbfs(row.tobytes()) for row in rows]
