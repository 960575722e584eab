"""Both Silero engines hear the same speech in the shipped callers, however the packets are cut."""

from __future__ import annotations

import random
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from engines.protocols import EngineError, Vad
from engines.vad_silero import PysileroVad
from engines.vad_silero_onnx import SileroOnnxVad, installed_model

CALLERS = Path(__file__).parent.parent / "soak" / "callers"
CLIPS = (
    "question-what_time_is_it-slt.wav",
    "question-what_is_the_capital_of_france-kal16.wav",
    "long_request-tell_me_about_the_history_of_the_ocean-rms.wav",
)
WINDOW = 512
WINDOW_BYTES = 2 * WINDOW
SECOND = bytes(32_000)

ENGINES = [PysileroVad, SileroOnnxVad]


def _clip(name: str) -> bytes:
    with wave.open(str(CALLERS / name), "rb") as clip:
        return clip.readframes(clip.getnframes())


def _call() -> bytes:
    """A second of silence, then each clip with a second of silence behind it."""
    return SECOND + b"".join(_clip(name) + SECOND for name in CLIPS)


def _ragged(pcm: bytes, seed: int) -> list[bytes]:
    chance = random.Random(seed)
    cuts = sorted(chance.choices(range(len(pcm)), k=len(pcm) // 700))
    return [pcm[a:b] for a, b in zip([0, *cuts], [*cuts, len(pcm)], strict=True)]


@pytest.fixture(params=ENGINES)
def vad(request: pytest.FixtureRequest) -> Vad:
    engine: Vad = request.param()
    engine.load()
    return engine


def test_speech_is_likely_and_silence_is_not(vad: Vad) -> None:
    session = vad.open()
    assert max(session.push(SECOND)) < 0.2
    heard = session.push(_clip(CLIPS[2]))
    assert np.mean(np.array(heard) > 0.5) > 0.7
    assert max(session.push(SECOND)[-10:]) < 0.2


def test_one_probability_for_each_window_completed(vad: Vad) -> None:
    session = vad.open()
    assert session.push(b"") == []
    assert session.push(bytes(WINDOW_BYTES - 1)) == []
    assert len(session.push(bytes(1))) == 1
    assert len(session.push(bytes(3 * WINDOW_BYTES + 7))) == 3


@pytest.mark.parametrize("seed", range(3))
def test_ragged_packets_change_nothing(vad: Vad, seed: int) -> None:
    pcm, session = _call(), vad.open()
    pieces = [p for packet in _ragged(pcm, seed) for p in session.push(packet)]
    assert pieces == vad.open().push(pcm)


def test_sessions_do_not_hear_each_other(vad: Vad) -> None:
    pcm = _call()
    alone = vad.open().push(pcm)
    one, other = vad.open(), vad.open()
    mixed = []
    for at in range(0, len(pcm), WINDOW_BYTES):
        mixed += one.push(pcm[at : at + WINDOW_BYTES])
        other.push(pcm[::-1][at : at + WINDOW_BYTES])
    assert mixed == alone


def test_windows_of_many_sessions_are_judged_at_once_to_the_last_bit() -> None:
    """Of as many as come together, which changes from one time to the next."""
    engine = SileroOnnxVad()
    engine.load()
    calls = [
        np.frombuffer(_call()[at:], np.int16) for at in range(0, 40 * WINDOW_BYTES, WINDOW_BYTES)
    ]
    sessions = [engine.open() for _ in calls]
    found: list[list[float]] = [[] for _ in calls]
    chosen = np.random.default_rng(1)
    for _ in range(120):
        some = chosen.permutation(len(calls))[: chosen.integers(1, len(calls) + 1)]
        starts = [len(found[number]) * WINDOW for number in some]
        windows = [calls[n][at : at + WINDOW] for n, at in zip(some, starts, strict=True)]
        judged = engine.judge([sessions[n] for n in some], np.array(windows, np.float32))
        for number, probability in zip(some, judged, strict=True):
            found[number].append(probability)
    for sound, probabilities in zip(calls, found, strict=True):
        alone = engine.open().push(sound[: len(probabilities) * WINDOW].tobytes())
        assert probabilities == alone


def test_both_engines_agree() -> None:
    ggml, onnx = PysileroVad(), SileroOnnxVad()
    ggml.load()
    onnx.load()
    one, other = (np.array(engine.open().push(_call())) for engine in (ggml, onnx))
    assert np.abs(one - other).max() < 0.15  # 0.06 measured: the ggml weights are rounded
    assert np.abs(one - other).mean() < 0.01
    assert np.mean((one > 0.5) == (other > 0.5)) > 0.98


def test_the_wheel_with_the_model_is_found_but_not_imported() -> None:
    before = set(sys.modules)
    assert installed_model().is_file()
    assert not {"silero_vad", "torch"} & (set(sys.modules) - before)


def test_a_missing_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="name an existing"):
        SileroOnnxVad(tmp_path / "none.onnx").load()


def test_no_session_before_the_model() -> None:
    with pytest.raises(EngineError, match=r"call load\(\)"):
        SileroOnnxVad().open()
