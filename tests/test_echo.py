"""An agent next to its own microphone does not interrupt itself; a caller interrupts it."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from engines.echo import LocalEcho
from engines.echo_webrtc import FRAME_BYTES, WebrtcEcho
from engines.vad_silero import PysileroVad
from soak import caller_set
from soak.echo import LEVELS_DB, Alone, Trial, alone, good, talked_over
from soak.echo_loop import Loop, speech
from soak.echo_path import ROOMS, Room, Samples, active_dbfs, impulse_response
from soak.echo_words import Words

ROOM = {room.name: room for room in ROOMS}
BLOCK_BYTES = 640


@pytest.fixture(scope="module")
def agent() -> Samples:
    return speech(20)


@pytest.fixture(scope="module")
def vad() -> PysileroVad:
    made = PysileroVad()
    made.load()
    return made


@pytest.mark.parametrize("name", ["desk", "speakerphone", "device change"])
def test_the_agent_does_not_interrupt_itself(name: str, agent: Samples, vad: PysileroVad) -> None:
    assert alone(vad, "pysilero", ROOM[name], agent, 0.2).interruptions == 0


def test_callers_interrupt_at_every_level(agent: Samples, vad: PysileroVad) -> None:
    trials = talked_over(vad, "pysilero", ROOM["living room"], agent, 3, seed=2)
    assert [trial.level_db for trial in trials] == [0, 3, 6]
    assert all(trial.commit_ms is not None for trial in trials)


def test_the_fleets_rules_have_a_caller_interrupt_and_the_agent_not(
    agent: Samples, vad: PysileroVad
) -> None:
    """By sound and words: its own, that come back, are none."""
    room, words = ROOM["living room"], Words()
    heard = talked_over(vad, "pysilero", room, agent, 1, seed=2, words=words)
    assert [trial.meant for trial in heard] == [True]
    assert alone(vad, "pysilero", ROOM["device change"], agent, 0.1, words).meant == 0


def test_without_the_canceller_the_agent_would(agent: Samples, vad: PysileroVad) -> None:
    """What the others are worth: headphones are assumed where there are none."""

    class Deaf(Loop):
        def __init__(self, room: Room) -> None:
            super().__init__(room, agent, vad)
            self.echo.process = lambda near: near  # type: ignore[method-assign]  # no canceller

    heard = Deaf(ROOM["desk"]).run(3).utterances
    assert any(utterance.committed is not None for utterance in heard)


def test_a_caller_passes_unchanged_while_the_agent_is_silent() -> None:
    echo, silence = LocalEcho(WebrtcEcho()), bytes(FRAME_BYTES)
    said = caller_set.find("question")[0].pcm()
    said = said[: len(said) // FRAME_BYTES * FRAME_BYTES]
    out = bytearray()
    for at in range(0, len(said), FRAME_BYTES):
        echo.play(silence)
        out += echo.process(said[at : at + FRAME_BYTES])
    assert bytes(out[7 * FRAME_BYTES :]) == said[: -7 * FRAME_BYTES]


def test_a_microphone_that_begins_first_is_heard_at_once() -> None:
    echo, said = LocalEcho(WebrtcEcho()), np.full(FRAME_BYTES // 2, 500, np.int16).tobytes()
    out = [echo.process(said) for _ in range(9)]
    assert out[7:] == [said, said]


def test_sides_that_run_apart_are_paired_anew(agent: Samples) -> None:
    """A loudspeaker that took 1 s of sound at once, or a microphone that lost as much."""
    loop = Loop(ROOM["laptop"], agent, _Nobody())
    loop.run(2)
    assert loop.echo.figures.delay_ms == pytest.approx(60, abs=1)
    loop.echo.play(bytes(32_000))
    loop.run(2)
    assert loop.echo.figures.delay_ms is not None
    assert -20 <= loop.echo.figures.delay_ms <= 500


class _Nobody:
    """A VAD that hears nobody."""

    def load(self) -> None: ...

    def open(self) -> _Nobody:
        return self

    def push(self, pcm: bytes) -> list[float]:
        return []


def test_the_adapter_takes_ten_milliseconds() -> None:
    canceller = WebrtcEcho()
    assert len(canceller.process(bytes(FRAME_BYTES), bytes(FRAME_BYTES))) == FRAME_BYTES
    with pytest.raises(ValueError, match="10 ms"):
        canceller.process(bytes(BLOCK_BYTES), bytes(FRAME_BYTES))


def test_the_adapter_suppresses_an_echo_and_starts_again_after_a_reset() -> None:
    canceller, chance = WebrtcEcho(), np.random.default_rng(3)
    far = np.asarray(chance.standard_normal(32_000) * 2000, np.int16).tobytes()
    frames = [far[at : at + FRAME_BYTES] for at in range(0, len(far), FRAME_BYTES)]
    for frame in frames:
        canceller.process(frame, frame)
    assert canceller.figures.erle_db > 20
    canceller.reset()
    fresh = WebrtcEcho()
    for frame in frames[:20]:
        assert canceller.process(frame, frame) == fresh.process(frame, frame)


def test_a_room_is_the_same_each_time() -> None:
    assert np.array_equal(impulse_response(0.3, 4), impulse_response(0.3, 4))
    assert np.sum(impulse_response(0.6, 1) ** 2) == pytest.approx(1.0)


def test_levels_are_those_of_speech_not_of_its_pauses(agent: Samples) -> None:
    padded = np.concatenate((np.zeros(16_000, np.int16), agent[: 512 * 200]))
    assert active_dbfs(padded) == pytest.approx(active_dbfs(agent[: 512 * 200]), abs=0.5)


def test_one_interruption_of_itself_is_one_too_many() -> None:
    fine = Alone(
        vad="v",
        room="r",
        minutes=1,
        interruptions=0,
        meant=0,
        false_ducks=2,
        ducked_s=1,
        longest_ms=96,
        erle_db=20,
        drift_ppm=0,
    )
    trials = [
        Trial(
            vad="v",
            room="r",
            level_db=db,
            clip="c",
            voiced_ms=500,
            onset_ms=100,
            commit_ms=600,
            meant=True,
        )
        for db in LEVELS_DB
    ]
    assert good([fine], trials)
    assert not good([msgspec.structs.replace(fine, interruptions=1)], trials)
    assert not good([msgspec.structs.replace(fine, meant=1)], trials)
    deaf = msgspec.structs.replace(trials[0], meant=False)
    assert not good([fine], [deaf, *trials[1:]])
