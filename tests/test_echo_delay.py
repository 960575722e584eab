"""How late an echo is, is found to a fraction of a sample, followed as it drifts, and found again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engines.echo_delay import EVERY, RATE, DelayLine, EchoDelay, Seen
from engines.echo_kalman import KalmanEcho
from engines.echo_reference import Reference
from soak.echo_path import BLOCK, FULL_SCALE, Ear, EchoPath, Room, Samples, active_dbfs

FRAME = RATE // 100
QUIET_ROOM = Room("test", 120, 0.3, -20, seed=5)


def syllables(seconds: float, seed: int) -> Samples:
    """Noise in bursts of 150 ms with pauses of 50 ms: as wide as speech, and with gaps like it."""
    noise = np.random.default_rng(seed).standard_normal(int(seconds * RATE)) * 3000
    spoken = np.arange(len(noise)) % 3200 < 2400
    return np.asarray(np.clip(noise * spoken, -32768, 32767), np.int16)


def both(room: Room, played: Samples, said: Samples | None = None) -> EchoDelay:
    """Both sides of a room, frame by frame."""
    path, ear, delay = EchoPath(room, active_dbfs(played)), Ear(room), EchoDelay()
    echo = np.concatenate(
        [path.hear(played[at : at + BLOCK]) for at in range(0, len(played), BLOCK)]
    )
    heard = ear.record(echo, None if said is None else said / FULL_SCALE) / FULL_SCALE
    length = min(len(heard), len(played)) // FRAME * FRAME
    for at in range(0, length, FRAME):
        delay.push(heard[at : at + FRAME], played[at : at + FRAME] / FULL_SCALE)
    return delay


@pytest.mark.parametrize("delay_ms", [0, 20, 137, 300, 480])
def test_the_delay_is_found(delay_ms: int) -> None:
    line = both(replace(QUIET_ROOM, delay_ms=delay_ms), syllables(2, 1)).line
    assert line.known
    assert line.at(2 * RATE) == pytest.approx(delay_ms * 16, abs=0.5)


@pytest.mark.parametrize("drift_ppm", [-100, 40, 100])
def test_drift_is_followed(drift_ppm: int) -> None:
    line = both(replace(QUIET_ROOM, drift_ppm=drift_ppm), syllables(8, 2)).line
    assert line.drift * 1e6 == pytest.approx(drift_ppm, abs=5)
    assert line.at(8 * RATE) == pytest.approx(120 * 16 + 8 * RATE * drift_ppm * 1e-6, abs=1)


def test_another_device_is_another_line() -> None:
    line = both(replace(QUIET_ROOM, jump_ms=70, jump_s=2), syllables(5, 3)).line
    assert line.jumps == 1
    assert line.at(5 * RATE) == pytest.approx(190 * 16, abs=0.5)


def test_somebody_else_is_no_echo() -> None:
    nothing = replace(QUIET_ROOM, echo_dbfs=-100)
    assert not both(nothing, syllables(3, 4), syllables(3, 5)).line.known


def test_nothing_is_learnt_from_silence() -> None:
    assert not both(QUIET_ROOM, np.zeros(2 * RATE, np.int16), syllables(2, 6)).line.known


def test_a_single_estimate_elsewhere_is_doubted_and_forgotten() -> None:
    line = DelayLine()
    for number in range(5):
        line.take(Seen(number * EVERY, 1000.0))
    line.take(Seen(5 * EVERY, 4000.0))
    assert line.doubtful(6 * EVERY)
    assert not line.doubtful(30 * EVERY)
    line.take(Seen(31 * EVERY, 1000.0))
    assert not line.doubtful(32 * EVERY)
    assert line.jumps == 0
    assert line.at(32 * EVERY) == pytest.approx(1000.0)


def test_a_stretch_between_samples_is_the_sound_shifted() -> None:
    reference, time = Reference(), np.arange(4 * RATE) / RATE
    for at in range(0, len(time), FRAME):
        reference.push(np.sin(2 * np.pi * 440 * time[at : at + FRAME]))
    position = 3 * RATE + 0.37
    wanted = np.sin(2 * np.pi * 440 * (position + np.arange(FRAME)) / RATE)
    assert np.max(np.abs(reference.read(position, FRAME) - wanted)) < 1e-3


def test_what_was_not_played_yet_is_silence() -> None:
    reference = Reference()
    reference.push(np.ones(FRAME))
    assert reference.read(FRAME // 2, FRAME).tolist() == [1.0] * 80 + [0.0] * 80
    assert not reference.read(10 * RATE, FRAME).any()
    assert not reference.read(-FRAME, FRAME).any()


def test_the_filter_learns_a_path_and_takes_nothing_from_a_caller() -> None:
    chance = np.random.default_rng(7)
    far = chance.standard_normal(5 * RATE) * 0.1
    path = chance.standard_normal(800) * np.exp(-np.arange(800) / 120) * 0.3
    echo = np.convolve(far, path)[: len(far)]
    caller = np.zeros(len(far))
    caller[4 * RATE :] = chance.standard_normal(RATE) * 0.1
    kalman = KalmanEcho()
    frames = range(0, len(far), FRAME)
    left = np.concatenate(
        [kalman.process((echo + caller)[at : at + FRAME], far[at : at + FRAME])[0] for at in frames]
    )
    learnt = slice(3 * RATE, 4 * RATE)
    assert np.mean(left[learnt] ** 2) < 1e-3 * np.mean(echo[learnt] ** 2)
    spoken = slice(4 * RATE, 5 * RATE)
    assert np.mean((left - caller)[spoken] ** 2) < 0.05 * np.mean(caller[spoken] ** 2)
