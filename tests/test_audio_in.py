"""audio_in on in-proc sockets: 16 kHz with true positions, where speech lies, and a line that is gone."""

from __future__ import annotations

import asyncio
import itertools

import numpy as np
import numpy.typing as npt

from actors.audio_in import AudioInActor
from bus.settings import AudioIn
from schemas import (
    CallClosed,
    CallerPcm,
    CallOpened,
    Event,
    LineLost,
    LinePcm,
    SpeechContinued,
    SpeechEnded,
    SpeechStarted,
)
from soak.small_engines import Loudness
from tests.rig import Rig, rig, until

Sound = npt.NDArray[np.int16]
CALL = "C1"
WINDOW = 512
HEARS: tuple[type[Event], ...] = (
    *(CallerPcm, SpeechStarted, SpeechContinued, SpeechEnded),
    LineLost,
)


def tone(samples: int, rate: int = 16_000, level: int = 8000) -> Sound:
    return (level * np.sin(2 * np.pi * 440 * np.arange(samples) / rate)).astype(np.int16)


def line(agent: Rig, sound: Sound, rate: int = 16_000, first: int = 0, ms: int = 20) -> None:
    """As a line sends it: a frame every `ms`."""
    size = rate * ms // 1000
    for at in range(0, len(sound), size):
        pcm = sound[at : at + size].tobytes()
        agent.publish(LinePcm(call=CALL, first=first + at, rate=rate, pcm=pcm))


async def up_to(agent: Rig, end: int) -> list[CallerPcm]:
    """All frames, once sample `end` - 1 has come out."""
    await until(lambda: any(frame.end >= end for frame in agent.past(CallerPcm)))
    return agent.past(CallerPcm)


def joined(frames: list[CallerPcm]) -> Sound:
    """The sound; its positions must have no hole."""
    for before, after in itertools.pairwise(frames):
        assert after.first == before.end
    return np.concatenate([np.frombuffer(frame.pcm, np.int16) for frame in frames])


def actor(line_lost_ms: int = 5000) -> AudioInActor:
    return AudioInActor(Loudness(), AudioIn(line_lost_ms=line_lost_ms))


async def test_a_line_at_16_khz_passes_untouched() -> None:
    async with asyncio.timeout(5), rig(*HEARS) as agent, agent.running(actor()):
        sound = tone(3200)
        line(agent, sound)
        frames = await up_to(agent, 3200)
        assert np.array_equal(joined(frames), sound)
        assert {frame.rate for frame in frames} == {16_000}


async def test_a_line_at_44_1_khz_is_resampled_without_moving_it() -> None:
    sound = np.concatenate([np.zeros(22_050, np.int16), tone(22_050, 44_100)])
    async with asyncio.timeout(5), rig(*HEARS) as agent, agent.running(actor()):
        line(agent, sound, rate=44_100)
        out = joined(await up_to(agent, 15_900)).astype(float)
        begins = int(np.argmax(np.abs(out) > 1000))
        assert 7990 < begins < 8032  # sinc_fastest lags 1.2 ms: 19 samples
        assert abs(out[8200:].std() / (8000 / np.sqrt(2)) - 1) < 0.02


async def test_a_hole_is_filled_with_silence_and_a_duplicate_skipped() -> None:
    async with asyncio.timeout(5), rig(*HEARS) as agent, agent.running(actor()):
        sound = tone(1600)
        line(agent, sound[:640])
        line(agent, sound[320:640], first=320)
        line(agent, sound[960:], first=960)
        out = joined(await up_to(agent, 1600))
        assert np.array_equal(out[:640], sound[:640])
        assert not out[640:960].any()
        assert np.array_equal(out[960:], sound[960:])


async def test_after_a_restart_positions_go_on_where_the_line_is() -> None:
    """Not an hour of silence, in one frame that nobody takes."""
    async with asyncio.timeout(5), rig(*HEARS) as agent, agent.running(actor()):
        hour = 3600 * 8000
        line(agent, tone(800, 8000), rate=8000, first=hour)
        frames = await up_to(agent, 2 * hour + 1500)
        assert frames[0].first == 2 * hour


async def test_a_long_hole_comes_in_frames_that_the_bus_takes() -> None:
    async with asyncio.timeout(5), rig(*HEARS) as agent, agent.running(actor()):
        line(agent, tone(320))
        line(agent, tone(320), first=4 * 16_000)
        frames = await up_to(agent, 4 * 16_000 + 320)
        assert len(joined(frames)) == 4 * 16_000 + 320
        assert max(frame.samples for frame in frames) <= 16_000


async def test_a_position_beyond_belief_is_not_taken() -> None:
    async with asyncio.timeout(5), rig(*HEARS) as agent, agent.running(actor()):
        line(agent, tone(320))
        line(agent, tone(320), first=1 << 40)
        line(agent, tone(320), first=320)
        assert len(joined(await up_to(agent, 640))) == 640


async def test_where_speech_begins_goes_on_and_ends() -> None:
    quiet, loud = np.zeros(10 * WINDOW, np.int16), tone(20 * WINDOW)
    sound = np.concatenate([quiet, loud, quiet])
    async with asyncio.timeout(5), rig(*HEARS) as agent, agent.running(actor()):
        line(agent, sound, first=16_000)
        ended = await agent.heard(SpeechEnded)
        start = 16_000 + 10 * WINDOW
        assert agent.past(SpeechStarted)[0].onset == start
        assert -20 < agent.past(SpeechStarted)[0].level_dbfs < -10
        windows = (ended.end - start) / WINDOW  # the pitch that is put back may ring for one more
        assert (ended.onset, ended.voiced) == (start, ended.end - start)
        assert windows in (20, 21)
        assert [event.silent for event in agent.past(SpeechContinued)][:6] == [0] * 6


async def test_channels_are_heard_apart() -> None:
    async with asyncio.timeout(5), rig(*HEARS) as agent, agent.running(actor()):
        for channel, level in ((0, 0), (1, 8000)):
            pcm = tone(4 * WINDOW, level=level).tobytes()
            agent.publish(LinePcm(call=CALL, channel=channel, pcm=pcm))
        assert (await agent.heard(SpeechStarted)).channel == 1
        assert len(agent.past(SpeechStarted)) == 1


async def test_a_line_that_falls_silent_is_lost_once() -> None:
    async with asyncio.timeout(5), rig(*HEARS) as agent, agent.running(actor(line_lost_ms=20)):
        agent.publish(CallOpened(call=CALL, line="test"))
        lost = await agent.heard(LineLost)
        assert lost.call == CALL
        assert lost.silent_ms >= 20


async def test_a_closed_call_is_not_missed() -> None:
    async with asyncio.timeout(5), rig(*HEARS) as agent, agent.running(actor(line_lost_ms=20)):
        agent.publish(CallOpened(call=CALL, line="test"), CallClosed(call=CALL, reason="hangup"))
        agent.publish(CallOpened(call="C2", line="test"))
        assert (await agent.heard(LineLost)).call == "C2"
        assert len(agent.past(LineLost)) == 1
