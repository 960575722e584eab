"""Many callers and voices in one light process: numbers of calls go in, late frames and holes come out.

Each call sends real speech and silence, 50 frames of 20 ms a second, spread over the 20 ms; its
agent's voice is made here too, 2 s ahead, as tts would. `python -m soak.bench_lines`, orders on stdin.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import zmq
from ulid import ULID

from bus.ask import ask
from bus.clock import NS_PER_MS as MS_NS
from bus.clock import MonotonicClock
from bus.control import MANAGER
from bus.endpoints import Endpoints
from bus.errors import FleetError
from bus.link import Link
from bus.settings import load
from bus.stamps import Stamper
from schemas import (
    AgentPcm,
    BusGap,
    CallOpened,
    CloseCall,
    Event,
    LinePcm,
    LinePlayed,
    OpenCall,
    Speech,
    Stamp,
    TurnStarted,
)
from soak import caller_set
from soak.bench_kit import Context

RATE, FRAME = 16_000, 320
FRAME_NS = 20 * MS_NS
SLOTS = 4
VOICE_RATE = 24_000
CHUNK_MS, LEAD_MS = 200, 2000
PLAYED_EVERY = 5
SETTLE_S = 2.5
TURN = 1


def caller_sound() -> bytes:
    """About half speech, half silence, some 20 s of it, a whole number of frames."""
    clips = caller_set.load()[:24:3]
    parts = [part for clip in clips for part in (clip.pcm(), bytes(2 * RATE))]
    sound = b"".join(parts)
    return sound[: len(sound) // (2 * FRAME) * 2 * FRAME]


def voice_sound() -> bytes:
    """A chunk of something that is no silence."""
    count = VOICE_RATE * CHUNK_MS // 1000
    wave = 8000 * np.sin(2 * np.pi * 200 * np.arange(count) / VOICE_RATE)
    return bytes(wave.astype("<i2").tobytes())


@dataclass
class Tally:
    """What went wrong at the lines, and how close it was."""

    frames: int = 0
    late: int = 0
    holes: int = 0
    gaps: int = 0
    lateness_ms: list[float] = field(default_factory=list)
    generator_lag_ms: float = 0.0


@dataclass
class Call:
    """One call's two directions."""

    name: str
    at: int
    began_ns: int
    sent: int = 0
    spoken: int = 0
    expected: int = 0
    base_ns: int | None = None


class Lines:
    """All calls of this process."""

    def __init__(self, context: Context, where: Endpoints) -> None:
        self._context, self._where = context, where
        self._clock = MonotonicClock()
        self._link = Link(context, where, Stamper("bench-lines"), self._clock)
        self._calls: dict[str, Call] = {}
        self._caller, self._voice = caller_sound(), voice_sound()
        self.tally = Tally()

    async def open(self) -> None:
        """Listen for gaps; calls are subscribed to as they come."""
        await self._link.listen((BusGap,), self._take)
        self._tasks = [asyncio.create_task(self._send())]

    async def grow(self, count: int) -> None:
        """Until there are `count` calls."""
        while len(self._calls) < count:
            name = str(ULID())
            self._link.subscribe(AgentPcm, name)
            await self._ask(OpenCall(call=name, line="bench-lines", attended=False))
            number = len(self._calls)
            at = number * 7919 * 2 * FRAME % len(self._caller)
            self._calls[name] = Call(name, at, self._clock.now())
            self._link.publish(TurnStarted(call=name, turn=TURN, text="", start=0, end=0))

    async def close(self) -> None:
        """Hang up all."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for name in self._calls:
            await self._ask(CloseCall(call=name))
        self._link.close()

    async def _ask(self, request: Event) -> None:
        answer = await asyncio.get_running_loop().run_in_executor(
            None, lambda: ask(self._where, MANAGER, request, 5.0, self._context)
        )
        if isinstance(request, OpenCall) and not isinstance(answer, CallOpened):
            raise FleetError(f"no call for the bench: {answer!r}")

    # -- out -------------------------------------------------------------------------------------

    async def _send(self) -> None:
        """Every 5 ms a quarter of the calls."""
        began, tick = self._clock.now(), 0
        while True:
            due = began + tick * FRAME_NS // SLOTS
            await self._clock.sleep_until(due)
            lag_ms = (self._clock.now() - due) / MS_NS
            self.tally.generator_lag_ms = max(self.tally.generator_lag_ms, lag_ms)
            for call in list(self._calls.values())[tick % SLOTS :: SLOTS]:
                self._speak(call)
            tick += 1

    def _speak(self, call: Call) -> None:
        pcm = self._caller[call.at : call.at + 2 * FRAME]
        call.at = (call.at + 2 * FRAME) % len(self._caller)
        self._link.publish(LinePcm(call=call.name, first=call.sent, rate=RATE, pcm=pcm))
        call.sent += FRAME
        number = call.sent // FRAME
        if number % PLAYED_EVERY == 0 and call.expected:
            played = LinePlayed(call=call.name, turn=TURN, samples=call.expected, rate=RATE)
            self._link.publish(played)
        while call.spoken * CHUNK_MS < number * 20 + LEAD_MS:
            self._voice_one(call)

    def _voice_one(self, call: Call) -> None:
        first = call.spoken * VOICE_RATE * CHUNK_MS // 1000
        call.spoken += 1
        speech = Speech(
            call=call.name, turn=TURN, first=first, rate=VOICE_RATE, pcm=self._voice, sentence=0
        )
        self._link.publish(speech)

    # -- in --------------------------------------------------------------------------------------

    def _take(self, event: Event, stamp: Stamp) -> None:
        if isinstance(event, BusGap):
            self.tally.gaps += 1
            return
        if not isinstance(event, AgentPcm) or (call := self._calls.get(event.call)) is None:
            return
        now = self._clock.now()
        zero_ns = now - event.first * 1_000_000_000 // RATE
        call.base_ns = zero_ns if call.base_ns is None else min(call.base_ns, zero_ns)
        late_ms = (zero_ns - call.base_ns) / MS_NS
        tally = self.tally
        tally.frames += 1
        tally.late += late_ms > FRAME_NS / MS_NS
        tally.holes += event.first != call.expected
        tally.lateness_ms.append(late_ms)
        call.expected = event.end

    async def measure(self, seconds: float) -> dict[str, Any]:
        """Count afresh for that long; a frame's due is that of the earliest seen in this time."""
        self.tally = Tally()
        for call in self._calls.values():
            call.base_ns = None
        await asyncio.sleep(seconds)
        tally = self.tally
        return {
            "expected_frames": round(len(self._calls) * seconds * 50),
            "frames": tally.frames,
            "late": tally.late,
            "holes": tally.holes,
            "gaps": tally.gaps + self._link.counts["missed"],
            "late_p99_ms": float(np.percentile(tally.lateness_ms or [0.0], 99)),
            "late_max_ms": max(tally.lateness_ms, default=0.0),
            "generator_lag_ms": tally.generator_lag_ms,
        }


async def _obey() -> None:
    context: Context = zmq.Context()
    lines = Lines(context, Endpoints(load().run_dir))
    await lines.open()
    loop = asyncio.get_running_loop()
    print(json.dumps({"ready": True}), flush=True)
    while (order := json.loads(await loop.run_in_executor(None, sys.stdin.readline))) is not None:
        await lines.grow(order["calls"])
        await asyncio.sleep(order["settle_s"])
        print(json.dumps({"measuring": order["calls"]}), flush=True)
        print(json.dumps(await lines.measure(order["seconds"])), flush=True)
    await lines.close()
    context.term()
    print(json.dumps({"over": True}), flush=True)


if __name__ == "__main__":
    asyncio.run(_obey())
