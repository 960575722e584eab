"""In go supervisord's word, doors and heartbeats; out comes one row per process."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any

import msgspec
import psutil
import zmq

from bus.endpoints import Endpoints
from bus.errors import WireError
from bus.flags import flags_of
from bus.settings import Settings, load
from bus.sockets import make, receive
from bus.wire import prefix, unpack
from ops.doors import Doors
from ops.supervisor import Process, Supervisor
from schemas import AskHealth, Flag, Health, Heartbeat

HEALTH_TIMEOUT_S = 0.5
MIB = 1_048_576
OVERRIDES = ("ENABLE_BARGE_IN", "LLM_URL", "LLM_MODEL", "LLM_API_KEY")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One process. Fields of None: it has no door, or nothing was heard. Units are in the names.

    `trouble`: what is wrong with one that is ready, in words. `cancel_budget_ms`, with its reason in
    `cancel_budget`: how long a CANCEL round of the next start waits for its last release (turn_manager).
    """

    actor: str
    pid: int
    state: str
    ready: bool | None = None
    detail: str = ""
    uptime_s: float | None = None
    restarts: int = 0
    rss_mb: float | None = None
    heartbeat_age_ms: float | None = None
    received: int | None = None
    sent: int | None = None
    stale: int | None = None
    malformed: int | None = None
    missed: int | None = None
    lag_ms: float | None = None
    loop_age_ms: float | None = None
    calls: int | None = None
    flags: dict[str, Flag] = {}
    restart_needed: dict[str, str] = {}
    gauges: dict[str, float] = {}
    trouble: str = ""
    cancel_budget_ms: int | None = None
    cancel_budget: str = ""


Beats = dict[str, tuple[Heartbeat, float]]


def rows(settings: Settings, supervisor: Supervisor) -> list[Row]:
    """Ask everybody once; takes as long as two heartbeats when one is silent."""
    processes = supervisor.processes()
    restarts = supervisor.restarts()
    next_start = settings_of_next_start(supervisor)
    where = Endpoints(settings.run_dir)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    with closing(Doors(context, where, settings.fleet.roster)) as doors:
        health = doors.survey(AskHealth(), HEALTH_TIMEOUT_S)
    beats = heartbeats(where, settings.fleet.roster, 2 * settings.fleet.heartbeat_ms)
    return [
        _row(
            process,
            restarts.get(process.name, 0),
            health.get(process.name),
            beats.get(process.name),
            next_start,
            process.name in settings.fleet.roster,
        )
        for process in processes
    ]


def heartbeats(where: Endpoints, actors: Iterable[str], wait_ms: int) -> Beats:
    """The next heartbeat of each actor, and its age in ms when it reached us."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    missing = set(actors)
    found: Beats = {}
    with closing(make(context, zmq.SUB)) as sub:
        sub.connect(where["events.out"])
        sub.subscribe(prefix(Heartbeat))
        deadline = time.monotonic() + wait_ms / 1000
        while missing and (left := deadline - time.monotonic()) > 0:
            sub.poll(int(left * 1000) + 1)
            for frames in receive(sub):
                try:
                    event, stamp = unpack(frames)
                except WireError:
                    continue
                if isinstance(event, Heartbeat):
                    found[event.actor] = event, (time.monotonic_ns() - stamp.at_ns) / 1e6
                    missing.discard(event.actor)
    return found


def _row(
    process: Process,
    restarts: int,
    health: object,
    beat: tuple[Heartbeat, float] | None,
    next_start: Settings,
    has_door: bool,
) -> Row:
    known: dict[str, Any] = {"actor": process.name, "pid": process.pid, "restarts": restarts}
    known["state"] = state_of(process)
    if process.pid:
        known["uptime_s"] = round(max(0.0, time.time() - process.started_s), 1)
        known["rss_mb"] = resident_mb(process.pid)
    if has_door and process.pid:
        known |= _of_door(health)
    if beat is not None and beat[0].pid == process.pid:
        known |= _of_heartbeat(*beat, next_start)
    return Row(**known)


def state_of(process: Process) -> str:
    """supervisord's word, with the reason where a process is down."""
    if process.state != "EXITED":
        return process.state.lower()
    if process.exit_code == 78:
        return "exited 78 (configuration)"
    return f"exited {process.exit_code}"


def resident_mb(pid: int) -> float | None:
    """Resident memory of a process and its children, MB of 2^20 bytes."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return round(sum(int(one.memory_info().rss) for one in family) / MIB, 1)
    except psutil.Error:
        return None


def _of_door(health: object) -> dict[str, Any]:
    if not isinstance(health, Health):
        return {"ready": False, "detail": f"no answer in {HEALTH_TIMEOUT_S * 1000:.0f} ms"}
    return {
        "ready": health.ready,
        "detail": health.detail,
        "loop_age_ms": round(health.loop_age_ms, 1),
    }


def _of_heartbeat(beat: Heartbeat, age_ms: float, next_start: Settings) -> dict[str, Any]:
    return {
        "heartbeat_age_ms": round(age_ms, 1),
        "received": beat.received,
        "sent": beat.sent,
        "stale": beat.stale,
        "malformed": beat.malformed,
        "missed": beat.missed,
        "lag_ms": round(beat.lag_ms, 1),
        "calls": beat.calls,
        "flags": beat.flags,
        "gauges": beat.extra,
        "trouble": beat.detail if beat.state == "ready" else "",
        "restart_needed": differences(beat.flags, flags_of(next_start, beat.actor)),
    }


def differences(running: Mapping[str, Flag], configured: Mapping[str, Flag]) -> dict[str, str]:
    """Flag → "running → after a restart" where they differ; without flags nothing is known."""
    if not running:
        return {}
    return {
        key: f"{running.get(key, 'unset')} → {value}"
        for key, value in configured.items()
        if running.get(key) != value
    }


def settings_of_next_start(supervisor: Supervisor) -> Settings:
    """What an actor restarted now would read: fleet.toml as it is, supervisord's environment."""
    fallback = {"BARGEIN_HOME": str(supervisor.home)}
    return load(env=fallback | _overrides(supervisor.environment()))


def _overrides(env: Mapping[str, str]) -> dict[str, str]:
    return {name: env[name] for name in OVERRIDES if name in env}


def shell_differs(supervisor: Supervisor, env: Mapping[str, str] = os.environ) -> list[str]:
    """Variables set here that the fleet was started without; a restart can't apply them."""
    fleet = supervisor.environment()
    return [name for name in OVERRIDES if name in env and env[name] != fleet.get(name)]
