"""smart-turn as `make engine-smart-turn` installs it: the wheel's own model, on shipped callers."""

from __future__ import annotations

import wave

import numpy as np
import pytest

from engines.turn_smart import SmartTurn
from soak import caller_set


@pytest.fixture(scope="module")
def listener() -> SmartTurn:
    made = SmartTurn()
    made.load()
    return made


def test_a_whole_question_sounds_more_like_the_end_than_half_of_it(listener: SmartTurn) -> None:
    """Of 24 the median: 96 ms of quiet behind the whole, and behind the first six tenths of it."""
    whole, broken = [], []
    for clip in caller_set.find("question"):
        with wave.open(str(clip.path)) as file:
            sound = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        quiet = np.zeros(1536, np.int16)
        whole.append(listener(np.concatenate([sound, quiet]).tobytes()))
        broken.append(listener(np.concatenate([sound[: len(sound) * 6 // 10], quiet]).tobytes()))
    assert np.median(whole) > np.median(broken)
    assert max(map(abs, [*whole, *broken])) <= 10


def test_only_the_last_eight_seconds_count(listener: SmartTurn) -> None:
    sound = (np.random.default_rng(3).standard_normal(12 * 16_000) * 2000).astype(np.int16)
    assert listener(sound.tobytes()) == listener(sound[-8 * 16_000 :].tobytes())
