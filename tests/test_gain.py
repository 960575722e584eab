"""The gain: at least 20 dB quieter, and no step between two samples that could click."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from actors.gain import Gain

RATE = 16_000
LEVEL = 20_000
FRAME = np.full(320, LEVEL, np.int16).tobytes()


def played(gain: Gain, frames: int) -> np.ndarray:
    return np.frombuffer(b"".join(gain.apply(FRAME) for _ in range(frames)), np.int16)


def test_ducked_sound_is_26_db_quieter_after_the_ramp() -> None:
    gain = Gain(RATE, ramp_ms=10)
    gain.aim(-26.0)
    sound = played(gain, 2)
    decibels = 20 * np.log10(sound[161:] / LEVEL)
    assert np.all(np.abs(decibels + 26) < 0.1)
    assert sound[80] > sound[161]


def test_back_at_full_level_frames_pass_untouched() -> None:
    gain = Gain(RATE)
    assert gain.apply(FRAME) is FRAME
    gain.aim(-26.0)
    played(gain, 2)
    assert not gain.full
    gain.aim(0.0)
    played(gain, 2)
    assert gain.full
    assert gain.apply(FRAME) is FRAME


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, -20.0, -26.0, -60.0]), st.integers(1, 3)),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from([5.0, 10.0, 40.0]),
)
def test_no_two_samples_differ_by_more_than_the_ramp_allows(
    orders: list[tuple[float, int]], ramp_ms: float
) -> None:
    """On a constant signal each change of the level is the gain's own."""
    gain = Gain(RATE, ramp_ms)
    pieces = [played(gain, 1)]
    for aim_db, frames in orders:
        gain.aim(aim_db)
        pieces.append(played(gain, frames))
    sound = np.concatenate(pieces).astype(int)
    largest = LEVEL / (RATE * ramp_ms / 1000) + 1  # 1: rounding
    assert np.max(np.abs(np.diff(sound))) <= largest
    assert sound.max() <= LEVEL
    assert sound.min() >= 0


def test_a_frame_without_sound_changes_nothing() -> None:
    gain = Gain(RATE)
    gain.aim(-26.0)
    assert gain.apply(b"") == b""
    assert played(gain, 1)[0] > 0.98 * LEVEL
