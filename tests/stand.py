"""stt on a stand: the journal, counting engines, in-proc sockets and a hand on the clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from actors.degraded import Allowance
from actors.segments import Segment, problems
from actors.stream import Kit
from actors.stt import SttActor
from actors.transcript import read
from bus.clock import ReplayClock
from bus.runtime import Runtime
from schemas import (
    CallClosed,
    CallerPcm,
    CallOpened,
    EngineFailed,
    Event,
    Final,
    Partial,
    SessionOpened,
    SpeechEnded,
    SpeechMark,
    SpeechStarted,
    SttDegraded,
    SttRecovered,
    Transcribed,
)
from tests.counting import FRAME, Batch, Engine, Sounds, Turnstile, numbered
from tests.rig import Rig, rig, until

CALL = "C1"
S = 16_000
NS = 1_000_000_000
HEARS: tuple[type[Event], ...] = (
    *(Partial, Final, EngineFailed, SttDegraded, SttRecovered, SessionOpened, Transcribed),
)


@dataclass
class Stand:
    """stt, the journal, engines, and a hand on the clock."""

    agent: Rig
    runtime: Runtime
    actor: SttActor
    engine: Engine
    batch: Batch
    sounds: Sounds
    leave: Turnstile
    clock: ReplayClock
    folder: Path
    at: int = 0
    heard: int = 0
    call: str = CALL

    def say(
        self,
        end: int,
        lost: bool = False,
        channel: int = 0,
        begin: int | None = None,
        onset: int = -1,
        ended: bool = True,
    ) -> None:
        """Sound up to `end`: into the journal, then onto the bus unless it is `lost` there."""
        for first in range(self.at if begin is None else begin, end, FRAME):
            pcm = numbered(first, min(FRAME, end - first))
            self.sounds.keep(self.call, first, pcm, channel)
            if not lost:
                frame = CallerPcm(
                    call=self.call, first=first, pcm=pcm, channel=channel, onset=onset, ended=ended
                )
                self.agent.publish(frame)
                self.heard += 1
        if begin is None:
            self.at = end

    def begins(self, onset: int, channel: int = 0, lost: bool = False) -> None:
        mark = SpeechMark(self.at, "started", onset, window=onset + 1024)
        self.sounds.mark(self.call, mark, channel)
        if not lost:
            self.agent.publish(SpeechStarted(call=self.call, onset=onset, channel=channel))
            self.heard += 1

    def ends(self, onset: int, end: int, channel: int = 0, lost: bool = False) -> None:
        mark = SpeechMark(self.at, "ended", onset, window=end + 4096, end=end)
        self.sounds.mark(self.call, mark, channel)
        if not lost:
            self.agent.publish(
                SpeechEnded(
                    call=self.call, onset=onset, end=end, voiced=end - onset, channel=channel
                )
            )
            self.heard += 1

    async def goes_down(self) -> None:
        """The session dies, no other is to be had, and stt has noticed."""
        self.engine.refuses = "down"
        self.engine.sessions[0].die()
        await self.agent.heard(SttDegraded)

    async def taken(self) -> None:
        """Until stt has received all that was published: two lanes, in no order."""
        await until(lambda: self.runtime.link.counts["received"] >= self.heard)
        for _ in range(20):
            await asyncio.sleep(0)

    async def utterance(self, onset: int, end: int, channel: int = 0) -> None:
        """Somebody speaks for a while."""
        self.say(onset + 1600)
        await self.taken()
        self.begins(onset, channel)
        self.say(end)
        await self.taken()
        self.ends(onset, end, channel)
        await self.taken()

    async def passes(self, seconds: float) -> None:
        """Time, in steps, so that sleepers sleep in turn."""
        end = self.clock.now() + int(seconds * NS)
        while self.clock.now() < end:
            self.clock.set(min(end, self.clock.now() + NS // 10))
            for _ in range(20):
                await asyncio.sleep(0)

    async def hangs_up(self) -> list[Segment]:
        """The call ends; its transcript as it is on disk, proven from its sample ranges."""
        self.agent.publish(CallClosed(call=self.call, reason="hangup"))
        await until(lambda: not self.actor._streams)
        return self.written()

    def written(self) -> list[Segment]:
        path = self.folder / f"{self.call}.jsonl"
        if not path.exists():
            return []
        segments, _, problem = read(path)
        assert problem == ""
        return segments


@asynccontextmanager
async def stand(
    folder: Path,
    refuses: str = "",
    batch_fails: str = "",
    channels: int = 1,
    lease: str = "",
    speaker: str = "",
    budget_s: float = 0.0,
    reopen_ms: float = 0.0,
) -> AsyncIterator[Stand]:
    engine, batch, leave = Engine(refuses, speaker), Batch(batch_fails), Turnstile(lease=lease)
    sounds, clock = Sounds(folder / "journal"), ReplayClock(NS)
    await sounds.load()
    sounds.journal.journals.opened(CALL)  # as audio_in does
    kit = Kit(
        engine,
        batch,
        sounds,
        leave,
        allowance=Allowance(budget_s),
        thrown=lambda: 0.0,
        reopen_ms=reopen_ms,
    )
    actor = SttActor(engine, kit=kit, transcripts=folder)
    async with asyncio.timeout(40), rig(*HEARS) as agent:
        async with agent.running(actor, clock=clock) as runtime:
            opened = CallOpened(call=CALL, line="test", channels=channels)
            agent.publish(opened)
            made = Stand(
                agent, runtime, actor, engine, batch, sounds, leave, clock, folder, heard=1
            )
            await until(lambda: len(actor._streams) == channels)
            await made.taken()
            yield made
        assert actor.gauges()["open_sessions"] == 0.0
        assert not leave.lease or len(leave.back) == sum(leave.granted for _ in range(leave.asked))


def spoken(segments: list[Segment]) -> list[tuple[str, str]]:
    """Kind and text of what was said, in the order of the file."""
    return [(segment.kind, segment.text) for segment in segments if segment.text]


def proven(segments: list[Segment], end: int) -> None:
    """Every sample once, in order, and every word from exactly its own samples."""
    assert problems(segments, end) == []
    assert all(whole(s.text) for s in segments if s.kind in ("live", "batch"))


def whole(text: str) -> bool:
    """Every word was heard from exactly its own samples."""
    return set(text.split()) == {"whole"}
