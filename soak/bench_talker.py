"""A busy call and three that are interrupted all the time: how long it took until all were fenced.

`python -m soak.bench_talker ROUNDS`, against a fleet in half duplex. The busy call's caller talks
without a break, so that the recogniser always decodes, while the agent tells a long story.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from itertools import count
from typing import Any

import zmq

from bus.clock import MonotonicClock
from bus.endpoints import Endpoints
from bus.link import Link
from bus.settings import load
from bus.stamps import Stamper
from ops.line import FRAME_MS, Line
from schemas import AgentPcm, Event, Final, Partial, Stamp
from soak import caller_set
from soak.bench_caller import Caller
from soak.bench_kit import Context, percentile

REQUEST = "tell me a very long story"
SPEAKS_S = (0.04, 0.2)
CALLS = 3
TOLD_EVERY = 20
BUSY_S = 30.0


class Busy:
    """The call in full swing."""

    def __init__(self, context: Context, where: Endpoints) -> None:
        self.line = Line(context, where)
        self._link = Link(context, where, Stamper("bench-talker"), MonotonicClock())
        self.frames = self.results = 0
        self.speaking = asyncio.Event()

    async def open(self) -> None:
        """The agent has begun its story."""
        hears = (AgentPcm, Partial, Final)
        await self._link.listen(hears, self._take, self.line.call)
        await self.line.__aenter__()
        self._task = asyncio.create_task(self._talk())
        async with asyncio.timeout(BUSY_S):
            await self.speaking.wait()

    def _take(self, event: Event, stamp: Stamp) -> None:
        if isinstance(event, AgentPcm):
            self.frames += 1
            self.speaking.set()
        else:
            self.results += 1

    async def _talk(self) -> None:
        """The request, a rest for its answer to begin, then clip after clip."""
        request = caller_set.find("long_request", text=REQUEST)[0].pcm()
        clips = caller_set.find("question") + caller_set.find("interruption")
        talk = b"".join(clip.pcm() for clip in clips)
        size = 2 * self.line.rates.caller * FRAME_MS // 1000
        at = 0
        async for _ in self.line.frames():
            sound = request if at < len(request) else talk if self.speaking.is_set() else b""
            start = at if sound is request else (at - len(request)) % max(1, len(sound))
            self.line.send(sound[start : start + size].ljust(size, b"\0"))
            at += size

    async def close(self) -> None:
        """Hang up."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await self.line.__aexit__()
        self._link.close()


async def _run(rounds: int) -> None:
    context: Context = zmq.Context()
    settings = load()
    busy = Busy(context, Endpoints(settings.run_dir))
    await busy.open()
    callers = [Caller(context, settings, seed, SPEAKS_S, REQUEST) for seed in range(CALLS)]
    for caller in callers:
        await caller.open()
    began_ns, before = busy.line.clock.now(), (busy.line.sent, busy.frames, busy.results)
    left = count(rounds, -1)
    await asyncio.gather(*(_interrupt(caller, callers, left, rounds) for caller in callers))
    seconds = (busy.line.clock.now() - began_ns) / 1e9
    figures = _figures(callers) | {
        "over": True,
        "rounds": rounds,
        "in_per_s": (busy.line.sent - before[0])
        / busy.line.rates.caller
        * 1000
        / FRAME_MS
        / seconds,
        "out_per_s": (busy.frames - before[1]) / seconds,
        "results": busy.results - before[2],
        "seconds": seconds,
    }
    for caller in callers:
        await caller.close()
    await busy.close()
    context.term()
    print(json.dumps(figures), flush=True)


async def _interrupt(caller: Caller, callers: list[Caller], left: count[int], rounds: int) -> None:
    while next(left) > 0:
        await caller.interrupt()
        done = sum(len(one.ears.rounds) for one in callers)
        if done % TOLD_EVERY == 0:
            print(json.dumps({"rounds": done}), flush=True)


def _figures(callers: list[Caller]) -> dict[str, Any]:
    tables = [table for caller in callers for table in caller.ears.rounds.values()]
    fenced = [table.all_fenced_ms for table in tables]
    actors: dict[str, list[float]] = {}
    for row in (row for table in tables for row in table.rows):
        if row.fenced_ms is not None:
            actors.setdefault(row.actor, []).append(row.fenced_ms)
    return {
        "actors_p99_ms": {name: percentile(times, 99) for name, times in actors.items()},
        "fenced_ms": [ms for ms in fenced if ms is not None],
        "incomplete": sum(ms is None for ms in fenced),
    }


if __name__ == "__main__":
    asyncio.run(_run(int(sys.argv[1])))
