"""A chaos run: a seed and a length go in; a fleet is started, harmed, talked to; figures come out."""

from __future__ import annotations

import asyncio
import gc
import shutil
import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import zmq

from bus.endpoints import Endpoints
from bus.settings import Settings
from ops.doors import Doors
from ops.supervisor import Supervisor
from schemas import AskBreakers, AskStats, Breakers, Heartbeat
from soak.bench_home import fleet, free_port, scratch
from soak.chaos.account import Fed
from soak.chaos.callers import Callers, judge, tidy
from soak.chaos.faults import KINDS, Kind, plan
from soak.chaos.figures import Bar, Figures, bars, figures
from soak.chaos.orders import Told
from soak.chaos.proxy import Proxy
from soak.chaos.strike import Striker
from soak.chaos.watch import Watch

TABLES: dict[str, dict[str, Any]] = {"stt": {"batch_interval_s": 5.0, "batch_wait_s": 10.0}}
SETTLE_S = 30.0
QUIET_S = 1.5
"""Calls go on for so long after the last fault."""
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Order:
    """What to do. `kept`: a folder for what remains of calls that were not exact, and for all logs."""

    seed: int = 1
    seconds: float = 60.0
    every_s: float = 3.4
    calls: int = 3
    kinds: tuple[Kind, ...] = KINDS
    kept: Path | None = None


@dataclass
class Made:
    """A finished run."""

    figures: Figures
    bars: list[Bar]

    @property
    def passed(self) -> bool:
        """All bars are met."""
        return all(bar.met for bar in self.bars)


def run(order: Order, tell: Tell = lambda text: None) -> Made:
    """All of it, in a home of its own."""
    server, proxy = free_port(), free_port()
    tables = {
        **TABLES,
        "responder": {"port": server},
        "llm": {"url": f"http://127.0.0.1:{proxy}/v1"},
    }
    gc.collect()
    gc.freeze()
    try:
        with scratch(tables) as settings:
            try:
                return asyncio.run(_run(order, settings, server, proxy, tell))
            finally:
                _keep_logs(order, settings)
    finally:
        gc.unfreeze()


def _keep_logs(order: Order, settings: Settings) -> None:
    if order.kept is not None:
        order.kept.mkdir(parents=True, exist_ok=True)
        shutil.copytree(settings.log_dir, order.kept / "log", dirs_exist_ok=True)


async def _run(order: Order, settings: Settings, server: int, port: int, tell: Tell) -> Made:
    proxy = Proxy(server)
    proxy.port = port
    await proxy.open()
    loop = asyncio.get_running_loop()
    tell("the fleet starts")
    with _fleet(settings) as start:
        supervisor = await loop.run_in_executor(None, start)
        try:
            return await _harm(order, settings, supervisor, proxy, tell)
        finally:
            await proxy.close()


@contextmanager
def _fleet(settings: Settings) -> Any:
    """Started on another thread: llm is ready only when the proxy, on this loop, relays."""
    made = fleet(settings, actors="soak.chaos.actor", responder="soak.chaos.actor responder")
    started: list[bool] = []

    def start() -> Supervisor:
        supervisor = made.__enter__()
        started.append(True)
        return supervisor

    try:
        yield start
    finally:
        if started:
            made.__exit__(None, None, None)


async def _harm(
    order: Order, settings: Settings, supervisor: Supervisor, proxy: Proxy, tell: Tell
) -> Made:
    watch = Watch(Endpoints(settings.run_dir))
    watch.open()
    told_us = Told(settings.run_dir)
    told_us.start()
    striker = Striker(settings, supervisor, watch, proxy)
    callers = Callers(settings, order.calls, order.seed)
    faults = plan(order.seed, order.seconds, order.every_s, order.kinds)
    began = time.monotonic()
    over: list[float] = []
    talking = asyncio.create_task(callers.talk(lambda: bool(over)))

    def told(text: str) -> None:
        at_s = time.monotonic() - began
        tell(f"{at_s:.0f} s, {len(striker.struck) + 1}/{len(faults)} faults: {text}")

    try:
        await striker.run(faults, told)
        await asyncio.sleep(QUIET_S)
        over.append(time.monotonic())
        tell("the last calls end")
        await talking
        await striker.settled()
        tell("gauges are to be zero")
        gauges = await _settled(settings)
    finally:
        talking.cancel()
        watch.close()
        striker.close()
        told_us.close()
    tell("every call is checked")
    seconds = over[0] - began
    fed = [msgspec.convert(note, Fed) for note in told_us.notes if "crc" in note]
    for call in callers.calls:
        judge(call, settings, fed)
    made = figures(order.seed, seconds, callers.calls, striker.struck, gauges)
    done = Counter(f"{note['did']} at {note['at']}" for note in told_us.notes if "did" in note)
    made.notes = {
        **_notes(settings, supervisor, watch, callers, striker),
        "orders carried out": dict(done),
    }
    _keep(order, settings, callers, fed)
    return Made(made, bars(made, striker.struck))


async def _settled(settings: Settings) -> dict[str, float]:
    """What is left in the fleet when nobody calls any more, and should not be."""
    deadline = time.monotonic() + SETTLE_S
    loop = asyncio.get_running_loop()
    while True:
        left = await loop.run_in_executor(None, gauges, settings)
        if not any(left.values()) or time.monotonic() >= deadline:
            return left
        await asyncio.sleep(0.25)


def gauges(settings: Settings) -> dict[str, float]:
    """Calls, sessions, leases, and calls whose sound still waits for its words."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    doors = Doors(context, Endpoints(settings.run_dir), settings.fleet.roster)
    try:
        answers = doors.survey(AskStats(), 1.0)
    finally:
        doors.close()
        context.term()
    found = {}
    for name in settings.fleet.roster:
        beat = answers.get(name)
        if not isinstance(beat, Heartbeat):
            found[f"{name} does not answer"] = 1.0
            continue
        found[f"{name}: calls"] = float(beat.calls)
        for gauge in ("active_calls", "degraded_sessions", "open_sessions", "probe_leases"):
            if gauge in beat.extra:
                found[f"{name}: {gauge}"] = beat.extra[gauge]
    left = {path.parent.parent.name for path in settings.journal_dir.rglob("*.seg")}
    found["journal: calls not transcribed"] = float(len(left))
    return found


def breakers(settings: Settings) -> Breakers | None:
    """How the circuits stand."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    doors = Doors(context, Endpoints(settings.run_dir), ("breaker",))
    try:
        answer = doors.survey(AskBreakers(), 1.0).get("breaker")
    finally:
        doors.close()
        context.term()
    return answer if isinstance(answer, Breakers) else None


def _notes(
    settings: Settings, supervisor: Supervisor, watch: Watch, callers: Callers, striker: Striker
) -> dict[str, object]:
    """What may be of use to who wants to know why."""
    return {
        "restarts": supervisor.restarts(),
        "events": dict(watch.seen),
        "turns": dict(watch.outcomes),
        "errors": {name: dict(count) for name, count in watch.errors.items()},
        "degraded_ms": watch.degraded_ms,
        "refused": callers.refused,
        "let_in_s": [round(value, 2) for value in callers.waited_s],
        "struck": [
            {
                "fault": str(one.fault),
                "at_s": one.fault.at_s,
                "at_ns": one.at_ns,
                "done": one.done,
                "alone": one.alone,
                "noticed_s": one.noticed_s,
                "back_s": one.back_s,
            }
            for one in striker.struck
        ],
        "circuits": msgspec.to_builtins(found.circuits) if (found := breakers(settings)) else [],
    }


def _keep(order: Order, settings: Settings, callers: Callers, fed: list[Fed]) -> None:
    """Calls that went well leave nothing; others leave recording, trace and transcript."""
    if order.kept is None:
        return
    order.kept.mkdir(parents=True, exist_ok=True)
    for call in callers.calls:
        well = call.account.exact and not call.words.missing
        if well and not call.dropped and not call.error:
            tidy(call, settings)
            continue
        folder = order.kept / call.id
        if (settings.calls_dir / call.id).exists():
            shutil.copytree(settings.calls_dir / call.id, folder, dirs_exist_ok=True)
        folder.mkdir(exist_ok=True)
        path = settings.transcript_dir / f"{call.id}.jsonl"
        if path.exists():
            shutil.copy(path, folder / "transcript.jsonl")
    lines = b"\n".join(msgspec.json.encode(one) for one in fed)
    (order.kept / "chaos-fed.jsonl").write_bytes(lines)
    calls = [msgspec.to_builtins(call) for call in callers.calls]
    (order.kept / "calls.json").write_bytes(msgspec.json.format(msgspec.json.encode(calls)))
