"""Whether one call's recovery delays another's partial words: the real fleet, two callers who talk on.

The circuit of stt is opened and one caller's decoder is killed: his sound piles up. Once there are 30 s of
it the circuit is closed, and the batch engine works it off while the other caller's words are timed, from
the last sample a partial covers, as the line sent it, to the partial.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from functools import partial
from pathlib import Path

import psutil

from bus.ask import ask
from bus.endpoints import Endpoints
from bus.errors import FleetError
from bus.recording import Record, read
from bus.settings import Settings
from ops import wav
from ops.cues import Cue
from ops.placing import Caller, Clip, Placed, Plan, place
from ops.supervisor import Supervisor
from schemas import Event, Partial, ResetBreaker, SttDegraded, SttRecovered, TripBreaker
from soak import caller_set
from soak.bench_home import Tables, fleet, scratch, with_responder
from soak.bench_kit import Result, Row, Tell, percentile, spread

NAME = "backlog"
BACKLOG_S, BEFORE_S, AFTER_S = 30.0, 6.0, 30.0
RATE = 16_000
PAUSE_S = 0.7
ENGINE = "pocketsphinx"
SETTINGS: Tables = {"stt": {"batch_interval_s": 600.0}, "turns": {"drafts": 0}}
BAR_MS = 150.0
"""What the recovery may add to the median delay of another call's partials."""


def run(tell: Tell, tiny: bool) -> Result:
    """One recovery."""
    tell("starting the fleet")
    with scratch(with_responder(SETTINGS)) as settings, fleet(settings) as supervisor:
        backlog_s = 2.0 if tiny else BACKLOG_S
        return asyncio.run(measured(settings, supervisor, backlog_s, tell))


async def measured(
    settings: Settings, supervisor: Supervisor, backlog_s: float, tell: Tell
) -> Result:
    """A backlog of `backlog_s` of one call, worked off beside another."""
    seconds = BEFORE_S + backlog_s + AFTER_S
    steady = asyncio.create_task(_call(settings, seconds))
    taken = await _next_decoder(supervisor, None)
    other = asyncio.create_task(_call(settings, seconds))
    mine = await _next_decoder(supervisor, taken)
    await asyncio.sleep(BEFORE_S)
    tell(f"a backlog of {backlog_s:g} s piles up")
    where = Endpoints(settings.run_dir)
    await _ask(where, TripBreaker(service="stt", endpoint=ENGINE))
    os.kill(mine, signal.SIGKILL)
    await asyncio.sleep(backlog_s)
    tell("and is worked off")
    await _ask(where, ResetBreaker(service="stt", endpoint=ENGINE))
    first, second = await asyncio.gather(steady, other)
    return _result(first.folder, second.folder, backlog_s)


async def _call(settings: Settings, seconds: float) -> Placed:
    """Somebody who says one thing after the other, whatever is answered."""
    clips: list[Clip] = []
    at_s = 0.3
    sayings = [one for one in caller_set.find("question") if one.pocketsphinx_live == one.text]
    while at_s < seconds:
        saying = sayings[len(clips) % len(sayings)]
        clips.append(Clip(wav.read(saying.path), Cue("clock", round(at_s, 2)), saying.text))
        at_s += len(clips[-1].sound) / RATE + PAUSE_S
    plan = Plan(Endpoints(settings.run_dir), settings.calls_dir, ready_wait_s=10.0)
    return await place(plan, partial(Caller, clips=clips, longest_wait_s=2.0))


async def _next_decoder(supervisor: Supervisor, taken: int | None) -> int:
    """The decoder the call just placed has got: the one that was kept warm."""
    loop = asyncio.get_running_loop()
    processes = await loop.run_in_executor(None, supervisor.processes)
    stt = next(one.pid for one in processes if one.name == "stt")
    before = _children(stt)
    deadline = time.monotonic() + 10.0
    while _children(stt) == before and time.monotonic() < deadline:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.05)
    return next(pid for pid in before if pid != taken)


def _children(pid: int) -> list[int]:
    return [int(child.pid) for child in psutil.Process(pid).children()]


async def _ask(where: Endpoints, request: Event) -> None:
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, ask, where, "breaker", request, 2.0)


def _result(steady: Path, other: Path, backlog_s: float) -> Result:
    """The delays of the steady call's partials, before and during the other's recovery."""
    told = read(other / "trace.msgpack")[1]
    degraded_ns = _first(told, SttDegraded)
    recovered_ns = _first(told, SttRecovered)
    began_ns = degraded_ns + int(backlog_s * 1e9)
    delays = _delays(steady)
    before = [ms for at_ns, ms in delays if at_ns < began_ns]
    during = [ms for at_ns, ms in delays if began_ns <= at_ns <= recovered_ns]
    added = percentile(during, 50) - percentile(before, 50)
    took_s = (recovered_ns - began_ns) / 1e9
    rows = [
        *spread(NAME, "partials of another call, before", before, "ms"),
        *spread(NAME, "partials of another call, during the recovery", during or before, "ms"),
        Row(bench=NAME, name="partials during it", value=len(during), unit="events"),
        Row(bench=NAME, name=f"recovery of {backlog_s:g} s", value=took_s, unit="s"),
        Row(
            bench=NAME,
            name="added to the median",
            value=added if during else 0.0,
            unit="ms",
            bar=BAR_MS,
        ),
    ]
    return Result(bench=NAME, rows=tuple(rows))


def _first(records: list[Record], kind: type[Event]) -> int:
    for one in records:
        if isinstance(one.event, kind):
            return one.at_ns
    raise FleetError(
        f"the call ended before its {kind.__struct_config__.tag}; this box is too busy to measure on"
    )


def _delays(folder: Path) -> list[tuple[int, float]]:
    """When each partial came, and how many ms after its last sample was sent."""
    t0_ns = json.loads((folder / "call.json").read_text())["t0_ns"]
    found = []
    for one in read(folder / "trace.msgpack")[1]:
        if isinstance(one.event, Partial) and not one.event.settled:
            sent_ns = t0_ns + one.event.end * 1_000_000_000 // RATE
            found.append((one.at_ns, (one.at_ns - sent_ns) / 1e6))
    return found
