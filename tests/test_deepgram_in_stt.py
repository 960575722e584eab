"""A real stt on a server of Deepgram's protocol: its connection ends, its speakers change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from actors.breaker import BreakerActor
from actors.doors import Anyone, Breaker
from actors.segments import problems
from actors.stream import Kit
from actors.stt import SttActor
from actors.transcript import read as transcript
from bus.asking import Asker
from bus.clock import ReplayClock
from engines.batch_deepgram import DeepgramBatch
from engines.stt_deepgram import DeepgramEngine, DeepgramSettings
from schemas import (
    BreakerChanged,
    CallClosed,
    CallerPcm,
    CallOpened,
    EngineFailed,
    Final,
    SpeechEnded,
    SpeechStarted,
    SttDegraded,
    SttRecovered,
)
from tests.counting import Sounds
from tests.fakes.deepgram import KEY, RATE, TALK, DeepgramServer, prerecorded, voice
from tests.rig import Rig, rig, until


class Talk:
    """One call in a real stt, its words from two servers: a live one and one for recorded sound."""

    def __init__(self, agent: Rig, actor: SttActor, sounds: Sounds) -> None:
        self._agent, self._actor, self._sounds = agent, actor, sounds
        self.ends = [0, 0]

    async def opens(self, channels: int) -> None:
        self._agent.publish(CallOpened(call="C", line="test", channels=channels))
        await until(lambda: self._actor.gauges()["open_sessions"] == channels)

    async def says(self, pcm: bytes, channel: int = 0, done: bool = True) -> int:
        """A second of silence, then this; its onset. Lanes keep no order: each event is waited for."""
        onset = await self.hears(bytes(2 * RATE), channel)
        known = self._actor._streams["C", channel].channel
        self._agent.publish(SpeechStarted(call="C", onset=onset, channel=channel))
        await until(lambda: known.current is not None and known.current.onset == onset)
        await self.hears(pcm, channel)
        if done:
            await self.pauses(onset, channel)
        return onset

    async def pauses(self, onset: int, channel: int = 0) -> None:
        known, end = self._actor._streams["C", channel].channel, self.ends[channel]
        self._agent.publish(
            SpeechEnded(call="C", onset=onset, end=end, voiced=end - onset, channel=channel)
        )
        await until(lambda: known.current is None)

    async def hears(self, pcm: bytes, channel: int = 0) -> int:
        """Into the journal as audio_in does it, and onto the bus; the sample after it."""
        for at in range(0, len(pcm), 640):
            first, frame = self.ends[channel], pcm[at : at + 640]
            self._sounds.keep("C", first, frame, channel)
            self._agent.publish(CallerPcm(call="C", first=first, pcm=frame, channel=channel))
            self.ends[channel] += len(frame) // 2
        known = self._actor._streams["C", channel].channel
        await until(lambda: known.heard_to == self.ends[channel])
        return self.ends[channel]

    async def hangs_up(self, channels: int) -> None:
        self._agent.publish(CallClosed(call="C", reason="hangup"))
        await until(lambda: sum(told.last for told in self._sounds.last) == channels)


@asynccontextmanager
async def in_stt(
    folder: Path, live: DeepgramServer, recorded: DeepgramServer, clock: ReplayClock, **wants: Any
) -> AsyncGenerator[tuple[Rig, SttActor, Talk]]:
    """stt on Deepgram, and the breaker, whose clock stands still."""
    sounds = Sounds(folder / "journal")
    await sounds.load()
    sounds.journal.journals.opened("C")  # as audio_in does
    hears = (Final, SttDegraded, SttRecovered, EngineFailed, BreakerChanged)
    async with asyncio.timeout(40), AsyncExitStack() as ending:
        await ending.enter_async_context(live.serving())
        url = await ending.enter_async_context(prerecorded(recorded))
        engine = DeepgramEngine(DeepgramSettings(url=live.url, **wants), KEY)
        batch = DeepgramBatch(DeepgramSettings(url=url, **wants), KEY)
        agent = await ending.enter_async_context(rig(*hears))
        breaker = BreakerActor(threshold=2, reset_s=1.0)
        running = agent.running(breaker, clock=clock, heartbeat_ms=3_600_000)
        await ending.enter_async_context(running)
        asker = Asker(agent.context, agent.where, "breaker")
        ending.callback(asker.close)
        kit = Kit(engine, batch, sounds, Anyone(), "deepgram", batch_interval_s=0.1)
        kit.thrown = lambda: 0.0
        actor = SttActor(engine, kit=kit, transcripts=folder)
        runtime = await ending.enter_async_context(agent.running(actor))
        kit.leave = Breaker(asker, "stt", runtime.stamper.inc)
        yield agent, actor, Talk(agent, actor, sounds)


PREROLL = 6400
SECOND = 1_000_000_000


@pytest.mark.parametrize("code", [1011, 0])
async def test_stt_loses_no_word_when_the_connection_ends_in_mid_sentence(
    tmp_path: Path, code: int
) -> None:
    """One of two channels: dead, degraded, refused, transcribed in batch, probed, back.

    The circuit in between is the real breaker's. Each word is there once, at its place, and the other
    channel goes on in its own session all the time.
    """
    server, recorded = DeepgramServer(), DeepgramServer()
    text, clock = "what is seven plus five", ReplayClock(SECOND)
    async with in_stt(tmp_path, server, recorded, clock) as (agent, actor, talk):
        await talk.opens(channels=2)
        assert server.connections == 3  # one tried the key
        await talk.says(voice("hello"), channel=1)
        assert (await agent.heard(Final, channel=1)).text == "hello"
        server.faults.close_code, server.faults.close_after = code, 2 * PREROLL + 3 * 4800
        server.faults.refuse = 503
        onset = await talk.says(voice(text), done=False)
        degraded = await agent.heard(SttDegraded)
        assert ("1011" if code else "broke off") in degraded.why
        server.faults.close_code = None
        opened = await agent.heard(BreakerChanged, service="stt", state="open")
        assert (opened.endpoint, opened.failures) == ("deepgram", 2)
        await until(lambda: not actor._streams["C", 0]._recovering)
        tries = len(server.asked)

        await talk.pauses(onset)
        assert (await agent.heard(Final, channel=0)).text == text
        await talk.says(voice("and then"), channel=1)
        assert (await agent.heard(Final, 2, channel=1)).text == "and then"
        assert not (await actor.kit.leave.ask("stt", "deepgram", "C")).granted
        assert actor.gauges() == {"open_sessions": 1.0, "degraded_sessions": 1.0}
        assert len(server.asked) == tries
        assert len(recorded.asked) == 1

        clock.set(clock.now() + SECOND)
        failed = await agent.heard(BreakerChanged, service="stt", was="half_open", state="open")
        assert "503" in failed.reason
        assert len(server.asked) == tries + 1
        server.faults.refuse = 0
        clock.set(clock.now() + SECOND)
        await agent.heard(BreakerChanged, service="stt", was="half_open", state="closed")
        back = await agent.heard(SttRecovered)
        assert (back.channel, len(agent.past(SttRecovered)), server.connections) == (0, 1, 4)
        await talk.says(voice("stop"))
        assert (await agent.heard(Final, 2, channel=0)).text == "stop"
        await talk.hangs_up(channels=2)
    segments, _, problem = transcript(tmp_path / "C.jsonl")
    assert problem == ""
    for channel, said in enumerate(([("batch", text), ("live", "stop")], LIVE_ALL_ALONG)):
        mine = [segment for segment in segments if segment.channel == channel]
        assert problems(mine, talk.ends[channel]) == []
        assert [(one.kind, one.text) for one in mine if one.text] == said
    assert len({one.stt_session for one in segments if one.channel == 1 and one.text}) == 1


LIVE_ALL_ALONG = [("live", "hello"), ("live", "and then")]


async def test_a_segment_ends_where_somebody_else_goes_on(tmp_path: Path) -> None:
    """Live, and in what the batch engine transcribed; the turn gets the words of both."""
    server, recorded = DeepgramServer(speakers=True), DeepgramServer(speakers=True)
    room = in_stt(tmp_path, server, recorded, ReplayClock(SECOND), diarize=True)
    async with room as (agent, _, talk):
        await talk.opens(channels=1)
        sound = b"".join(voice(text, who) for who, text in TALK)
        whole = " ".join(text for _, text in TALK)
        await talk.says(sound)
        assert (await agent.heard(Final)).text == whole
        server.faults.close_code, server.faults.refuse = 1011, 503
        onset = await talk.says(sound, done=False)
        await agent.heard(SttDegraded)
        await talk.pauses(onset)
        pieces = [await agent.heard(Final, number) for number in (2, 3, 4)]
        assert " ".join(piece.text for piece in pieces) == whole
        assert [piece.more for piece in pieces] == [True, True, False]
        await talk.hangs_up(channels=1)
    segments, _, _ = transcript(tmp_path / "C.jsonl")
    assert problems(segments, talk.ends[0]) == []
    said = [(one.kind, one.speaker, one.text) for one in segments if one.text]
    assert said == [
        (kind, f"caller #{1 if who else 2}", text)
        for kind in ("live", "batch")
        for who, text in TALK
    ]
    starts = [one.start for one in segments if one.kind == "live"]
    assert starts == [RATE - PREROLL, RATE + 2 * 2400, RATE + 3 * 2400]
