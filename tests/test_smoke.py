"""The speech smoke test: after a call a real synthesis, judged by its samples, never in a caller's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.smoke import Phrase
from actors.sound_check import FULL_SCALE, Bounds, check
from actors.tts import TtsActor
from bus.sections import Tts
from engines.protocols import Chunk, EngineError
from engines.tts_espeak import EspeakVoice
from ops.fleet_commands import smoke_line
from schemas import CallClosed, Event, Sentence, Speech, SpokenWords
from tests.rig import rig, until

CALL = "C1"
DEFAULT = Tts()
BOUNDS = Bounds(DEFAULT.smoke_least_ms, DEFAULT.smoke_most_ms, DEFAULT.smoke_level_dbfs)
PHRASE = Phrase(DEFAULT.smoke, BOUNDS, quiet_ms=0)
HEARS: tuple[type[Event], ...] = (Speech, SpokenWords)
OVER = CallClosed(call="C0", reason="hung up")
TEN = Sentence(call=CALL, turn=1, index=0, text="ten")


def tone(ms: float, amplitude: float, rate: int = 16_000) -> bytes:
    return (amplitude * np.sin(np.arange(int(rate * ms / 1000)))).astype("<i2").tobytes()


# -- the samples ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pcm", "why"),
    [
        (tone(1000, 3000), ""),
        (b"", "0 ms of sound, fewer than tts.smoke_least_ms (300)"),
        (tone(299, 3000), "fewer than"),
        (tone(8001, 3000), "over tts.smoke_most_ms (8000)"),
        (bytes(32_000), "1000 ms in which each sample is the same"),
        (b"\x10\x27" * 16_000, "each sample is the same"),
        (tone(1000, 100), "at -53.4 dBFS, not above tts.smoke_level_dbfs (-50)"),
        (tone(1000, 3000) + b"\0", "32001 bytes, which are no whole samples"),
    ],
)
def test_what_is_wrong_with_a_sound_is_told_with_its_bound(pcm: bytes, why: str) -> None:
    found = check(pcm, 16_000, BOUNDS).why
    assert why in found
    assert bool(found) == bool(why)


@given(st.integers(1, FULL_SCALE - 1), st.integers(-30_000, 30_000))
def test_the_level_is_that_of_what_alternates(amplitude: int, offset: int) -> None:
    wave = np.clip(np.array([amplitude, -amplitude] * 4000) // 2 + offset, -32_768, 32_767)
    found = check(wave.astype("<i2").tobytes(), 8000, Bounds(1, 2000, -50.0))
    wanted = 20 * np.log10(max(np.ptp(wave) / 2, 1e-9) / FULL_SCALE)
    assert found.ms == 1000.0
    assert found.dbfs == pytest.approx(max(wanted, -120.0), abs=0.06)
    assert bool(found.why) == (wanted <= -50.0)


# -- in the actor --------------------------------------------------------------------------------


class Reader:
    """A voice: a second of sound for anything; before it the smoke phrase waits for `go`, or fails."""

    rate = 16_000

    def __init__(self, amplitude: float = 3000, error: Exception | None = None) -> None:
        self.pcm, self.error = tone(1000, amplitude), error
        self.go = asyncio.Event()
        self.go.set()
        self.said: list[str] = []
        self.deaf = False

    async def load(self) -> None: ...

    async def close(self) -> None: ...

    async def stream(self, text: str) -> AsyncGenerator[Chunk, None]:
        self.said.append(f"begin {text}")
        try:
            if text == PHRASE.text:
                if self.error is not None:
                    raise self.error
                await self._wait()
            yield Chunk(self.pcm[: len(self.pcm) // 2])
            yield Chunk(self.pcm[len(self.pcm) // 2 :])
        finally:
            self.said.append(f"end {text}")

    async def _wait(self) -> None:
        """A thread in a library; `deaf`: it does not hear that it is to stop."""
        while True:
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                if not self.deaf:
                    raise
            else:
                return


async def test_after_a_call_a_real_voice_speaks_to_nobody_and_its_bytes_are_right() -> None:
    actor = TtsActor(EspeakVoice(), smoke=PHRASE)
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(actor) as runtime:
        assert actor.gauges()["smoke_runs"] == 0
        assert smoke_line(actor.gauges()) == "none yet; one follows each call"
        agent.publish(OVER)
        await until(lambda: actor.gauges()["smoke_runs"] == 1)
        found = actor.gauges()
        assert (found["smoke_passed"], found["smoke_failures"]) == (1, 0)
        assert 800 < found["smoke_sound_ms"] < 2500
        assert -30 < found["smoke_dbfs"] < -10
        assert runtime.heartbeat().extra.keys() >= {"smoke_age_s", "smoke_took_ms"}
        assert (runtime.heartbeat().detail, agent.past(Speech)) == ("", [])
        assert smoke_line(found).startswith("passed 0 s ago, ")
        assert smoke_line(found).endswith("(0 of 1 failed)")


@pytest.mark.parametrize(
    ("voice", "why"),
    [
        (Reader(amplitude=0), "each sample is the same"),
        (Reader(amplitude=50), "not above tts.smoke_level_dbfs"),
        (Reader(error=EngineError("out of memory")), "out of memory"),
        (Reader(error=ValueError("a bug")), "ValueError('a bug')"),
    ],
    ids=["silent", "faint", "raises", "breaks"],
)
async def test_a_voice_that_fails_it_is_told_until_one_passes(voice: Reader, why: str) -> None:
    actor = TtsActor({"a/b": voice}, smoke=PHRASE)
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(actor) as runtime:
        agent.publish(OVER)
        await until(lambda: actor.gauges()["smoke_runs"] == 1)
        assert (actor.gauges()["smoke_passed"], actor.gauges()["smoke_failures"]) == (0, 1)
        assert smoke_line(actor.gauges()).startswith("FAILED 0 s ago")
        told = runtime.heartbeat().detail
        assert told.startswith("speech smoke test failed, voice 'a/b': ")
        assert why in told
        assert "bargein restart tts" in told
        voice.pcm, voice.error = tone(1000, 3000), None
        agent.publish(CallClosed(call="C2", reason="hung up"))
        await until(lambda: actor.gauges()["smoke_runs"] == 2)
        assert (actor.gauges()["smoke_passed"], runtime.heartbeat().detail) == (1, "")


async def test_a_sentence_stops_it_at_once_and_it_is_made_anew_afterwards() -> None:
    voice = Reader()
    voice.go.clear()
    actor = TtsActor(voice, smoke=PHRASE)
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(actor):
        agent.publish(OVER)
        await until(lambda: voice.said == [f"begin {PHRASE.text}"])
        agent.publish(TEN)
        await agent.heard(Speech, 2)
        await until(lambda: len(voice.said) == 5)
        assert voice.said[1:4] == [f"end {PHRASE.text}", "begin ten", "end ten"]
        assert (actor.gauges()["smoke_gave_way"], actor.gauges()["smoke_runs"]) == (1, 0)
        voice.go.set()
        await until(lambda: actor.gauges()["smoke_runs"] == 1)
        assert voice.said[4:] == [f"begin {PHRASE.text}", f"end {PHRASE.text}"]


async def test_it_is_stopped_once_however_many_want_to_speak() -> None:
    """A second cancel would leave the engine's thread to itself."""
    voice = Reader()
    voice.deaf = True
    voice.go.clear()
    actor = TtsActor(voice, smoke=PHRASE)
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(actor):
        agent.publish(OVER)
        await until(lambda: voice.said == [f"begin {PHRASE.text}"])
        waiting = []
        for _ in range(3):
            waiting.append(asyncio.create_task(actor._smoke.give_way()))
            for _ in range(9):
                await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        voice.go.set()
        assert await asyncio.gather(*waiting) == [None, None, None]
        assert voice.said == [f"begin {PHRASE.text}", f"end {PHRASE.text}"]
        assert actor.gauges()["smoke_gave_way"] == 1


async def test_it_waits_while_another_call_is_spoken_to() -> None:
    """That one's sentences are made up to `lead_s` ahead; in between nothing is begun either."""
    voice = Reader()
    actor = TtsActor(voice, lead_s=0.9, smoke=PHRASE)
    async with asyncio.timeout(40), rig(*HEARS, roster=("tts",)) as agent, agent.running(actor):
        agent.publish(TEN, Sentence(call=CALL, turn=1, index=1, text="later"))
        await agent.heard(Speech, 2)
        agent.publish(OVER)
        await agent.heard(Speech, 4)
        await until(lambda: actor.gauges()["smoke_runs"] == 1)
        assert voice.said[:4] == ["begin ten", "end ten", "begin later", "end later"]


async def test_one_whose_voice_does_not_stop_leaves_the_sentence_to_the_next_voice() -> None:
    first, second = Reader(), Reader()
    first.deaf = True
    first.go.clear()
    actor = TtsActor({"a": first, "b": second}, smoke=PHRASE)
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(actor):
        agent.publish(OVER)
        await until(lambda: bool(first.said))
        agent.publish(TEN)
        await agent.heard(Speech, 2)
        assert second.said[0] == "begin ten"
        assert actor.gauges()["hanging"] == 1
        assert await actor._smoke.give_way(1000) is not None, "the next one does not wait again"
        first.go.set()
        await until(lambda: actor.gauges()["hanging"] == 0)
        await until(lambda: actor.gauges()["smoke_runs"] == 1)


async def test_without_a_phrase_nothing_is_said() -> None:
    voice = Reader()
    actor = TtsActor(voice)
    async with asyncio.timeout(40), rig(*HEARS) as agent, agent.running(actor):
        agent.publish(OVER, TEN)
        await agent.heard(Speech, 2)
        await until(lambda: voice.said == ["begin ten", "end ten"])
        assert not [name for name in actor.gauges() if name.startswith("smoke")]
