"""A recorded call and an actor's name go in; the actor hears it once more, what it says comes out.

The actor is the real one with its real engine. The clock stands still while an engine works: each
input comes when the actor has said as much as it had said before that input in the recording.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from actors.build import ACTORS
from bus.clock import ReplayClock
from bus.recording import Record
from bus.runtime import Runtime
from bus.settings import Settings
from ops.replay_loop import replay_loop
from ops.replay_plan import NotReplayable
from ops.replay_stage import NEVER_MS, ReplayFailed, Stage
from schemas import Audio, BusGap, CallClosed, CallOpened, Cancel, Heartbeat

ENGINE_S = {"audio_in": 3.0, "stt": 3.0, "llm": 5.0, "tts": 3.0}
"""Real time for an engine to say what it said in the recording; what is later counts as missing."""
START_S = {"llm": 5.0}
LONGEST_START_S = 60.0


def outputs(records: Sequence[Record], actor: str) -> list[Record]:
    """What an actor said, less what it says about itself."""
    return [
        r
        for r in records
        if r.stamp is not None
        and r.stamp.source == actor
        and not isinstance(r.event, Heartbeat | BusGap | None)
    ]


class ActorReplay:
    """Plays everybody else for one actor, in `call`, or in all calls when it is empty."""

    def __init__(
        self, records: Sequence[Record], call: str, actor: str, settings: Settings
    ) -> None:
        self._name, self._settings = actor, settings
        mine = [r for r in records if r.event and r.stamp and call in ("", r.event.call)]
        self.recorded = sorted(mine, key=_at_ns)
        self._clock = ReplayClock(_at_ns(self.recorded[0]) if mine else 0)
        self._missing = 0

    async def run(self) -> list[Record]:
        """All that was heard of the call. Raises NotReplayable, ReplayFailed."""
        async with Stage(replay_loop(), self._clock, self._name) as stage:
            self._stage = stage
            with tempfile.TemporaryDirectory() as elsewhere:  # for journals and transcripts
                settings = msgspec.structs.replace(self._settings, home=Path(elsewhere))
                await self._live_in(stage, settings)
        return stage.said

    async def _live_in(self, stage: Stage, settings: Settings) -> None:
        self._actor = ACTORS[self._name](settings, stage.context, stage.where)
        self._choose_inputs()
        await self._on(stage)

    def _choose_inputs(self) -> None:
        kinds = {*self._actor.hears, CallOpened, CallClosed, Cancel}
        self._inputs = [
            r for r in self.recorded if type(r.event) in kinds and _source(r) != self._name
        ]
        needs = {kind for kind in self._actor.hears if kind not in (CallOpened, CallClosed)}
        needs = {kind for kind in needs if issubclass(kind, Audio)} or needs
        if not any(type(record.event) in needs for record in self._inputs):
            tags = ", ".join(sorted(str(kind.__struct_config__.tag) for kind in needs))
            raise NotReplayable(
                f"the trace holds nothing that {self._name} hears ({tags}); record another, "
                "with sound and from before the call"
            )

    async def _on(self, stage: Stage) -> None:
        stage.expect(self._actor)
        stage.call_roll()
        runtime = Runtime(
            self._actor, stage.context, stage.where, clock=self._clock, heartbeat_ms=NEVER_MS
        )
        await self._start(runtime)
        try:
            stage.runtime = runtime
            await stage.settle()
            stage.said.clear()
            await self._live()
        finally:
            await runtime.stop()

    async def _start(self, runtime: Runtime) -> None:
        """Its engine may have to be loaded, or be somewhere else and not there."""
        limit_s = START_S.get(self._name, LONGEST_START_S)
        try:
            async with asyncio.timeout(limit_s):
                await runtime.__aenter__()
        except TimeoutError:
            at = f" at {self._settings.llm.url}; start it" if self._name == "llm" else ""
            raise ReplayFailed(
                f"{self._name} was not ready within {limit_s:g} s: it waits for its engine{at}"
            ) from None

    async def _live(self) -> None:
        recorded = outputs(self.recorded, self._name)
        self._kinds = {said.frames[0].partition(b"\0")[0] for said in recorded}
        said_ns = [_at_ns(said) for said in recorded]
        for record in self._inputs:
            at_ns = _at_ns(record)
            await self._catch_up(at_ns, sum(said < at_ns for said in said_ns))
            self._clock.set(at_ns)
            await self._give(record)
        await self._catch_up(_at_ns(self.recorded[-1]), len(said_ns))

    async def _give(self, record: Record) -> None:
        if not isinstance(record.event, Cancel):
            await self._stage.feed(record.lane, record.frames)
            return
        acks = self._stage.acks
        acks.clear()
        self._stage.cancel(record.event)
        await self._stage.settle(lambda: any(ack.released for ack in acks))

    async def _catch_up(self, at_ns: int, said: int) -> None:
        """Time passes until `at_ns`, and the actor says as much as it had said by then."""
        while True:
            while self._due(at_ns):
                self._clock.set(self._clock.next_due_ns or 0)
                await self._stage.settle()
            if self._said() >= said - self._missing:
                return
            if not await self._stage.loop.until(
                lambda: self._said() >= said - self._missing or self._due(at_ns),
                ENGINE_S.get(self._name, 0.0),
            ):
                self._missing = said - self._said()
                return
            await self._stage.settle()

    def _due(self, at_ns: int) -> bool:
        due_ns = self._clock.next_due_ns
        return due_ns is not None and due_ns <= at_ns

    def _said(self) -> int:
        """Counts only what the recording counts too: it may be without sound."""
        return sum(self._stage.heard[kind] for kind in self._kinds)


def _at_ns(record: Record) -> int:
    return record.stamp.at_ns if record.stamp else 0


def _source(record: Record) -> str:
    return record.stamp.source if record.stamp else ""
