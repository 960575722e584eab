"""up, down, restart, status, cancel: in comes the operator's word, out comes what the fleet did."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Annotated

import msgspec
import typer
import zmq
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from bus.ask import ask
from bus.control import MANAGER
from bus.endpoints import Endpoints
from bus.errors import BargeinError, FleetError
from bus.settings import Settings, home, load
from ops import fleet_checks
from ops.doors import Doors
from ops.fleet_status import Row, rows, settings_of_next_start, shell_differs, state_of
from ops.preflight_commands import budget_line, budget_reason
from ops.supervisor import Process, Supervisor, end, leftovers
from schemas import AskHealth, CancelCall, Health, Refused

console = Console()
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
SURVEY_S = 0.15
CONFIGURATION = 78


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """How far one actor has come; `ready_ms` since the start, None while it is not ready."""

    actor: str
    pid: int
    ready_ms: float | None
    waits_for: str


def up(as_json: Json = False) -> None:
    """Start the fleet and wait until every actor is ready."""
    settings = load()
    supervisor = Supervisor(settings.home)
    if supervisor.pid():
        supervisor.start()  # raises FleetAlreadyRunning
    fleet_checks.check(settings, supervisor)
    try:
        supervisor.start()
        found = _wait(supervisor, settings, settings.fleet.roster, as_json)
    except BaseException:
        if supervisor.pid():
            supervisor.shutdown()
        raise
    if as_json:
        _print_json(found)
    else:
        slowest = max(row.ready_ms or 0.0 for row in found)
        console.print(f"all {len(found)} actors are ready after {slowest:.0f} ms")


def down() -> None:
    """Stop the fleet; returns when the last process is gone."""
    supervisor = Supervisor(home())
    orphans = leftovers(supervisor.home)
    if not supervisor.pid() and orphans:
        end(orphans)
        console.print(f"stopped {len(orphans)} processes that had lost their supervisord")
        return
    began = time.monotonic()
    supervisor.shutdown()
    console.print(f"the fleet is down after {(time.monotonic() - began) * 1000:.0f} ms")


def restart(
    actor: Annotated[str, typer.Argument(help="A name `bargein status` lists.")],
    as_json: Json = False,
) -> None:
    """Restart one actor and wait until it is ready."""
    supervisor = Supervisor(home())
    supervisor.restart(actor)
    settings = settings_of_next_start(supervisor)
    _warn_of_shell(supervisor)
    if actor not in settings.fleet.roster:
        console.print(f"{actor} is restarted")
        return
    [row] = _wait(supervisor, settings, [actor], as_json)
    if as_json:
        _print_json([row])
    else:
        console.print(f"{actor} is ready after {row.ready_ms:.0f} ms")


def status(as_json: Json = False) -> None:
    """What every process is doing, and where a restart is needed. Exit 1 when one is not ready."""
    supervisor = Supervisor(home())
    supervisor.require()
    settings = settings_of_next_start(supervisor)
    found = rows(settings, supervisor)
    if as_json:
        _print_json([with_budget(row, settings) for row in found])
    else:
        console.print(_status_table(found))
        _print_flags(found)
        _print_troubles(found)
        _print_smoke(found)
        console.print(budget_line(settings), highlight=False)
        _warn_of_shell(supervisor)
    if not all(row.ready is not False and row.pid for row in found):
        raise typer.Exit(1)


def cancel(call: Annotated[str, typer.Argument(help="The call's id (a ULID).")]) -> None:
    """Cancel the turn in progress of a call."""
    supervisor = Supervisor(home())
    supervisor.require()
    where = Endpoints(supervisor.home / "var" / "run")
    answer = ask(where, "turn_manager", CancelCall(call=call), timeout_s=3.0)
    if isinstance(answer, Refused):
        raise FleetError(f"turn_manager refused ({answer.status}): {answer.why}")
    console.print(f"cancelled: {getattr(answer, 'detail', '') or call}")


# -- readiness -----------------------------------------------------------------------------------


def _wait(
    supervisor: Supervisor, settings: Settings, actors: Sequence[str], quiet: bool
) -> list[Readiness]:
    """Until all are ready. Raises for a process that has given up, and at the time-out."""
    began = time.monotonic()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    live = Live(console=Console(quiet=quiet), transient=True)
    found: list[Readiness] = []
    since: dict[str, float] = {}
    with closing(Doors(context, Endpoints(settings.run_dir), actors)) as doors, live:
        while True:
            elapsed_ms = (time.monotonic() - began) * 1000
            found = _look(supervisor, doors, actors, since, elapsed_ms)
            live.update(_readiness_table(found, elapsed_ms))
            late = [row for row in found if row.ready_ms is None]
            if not late:
                return found
            if elapsed_ms > settings.fleet.start_wait_s * 1000:
                raise _not_ready(supervisor, late, settings.fleet.start_wait_s)


def _look(
    supervisor: Supervisor,
    doors: Doors,
    actors: Sequence[str],
    since: dict[str, float],
    elapsed_ms: float,
) -> list[Readiness]:
    processes = {process.name: process for process in supervisor.processes()}
    for process in processes.values():
        if process.state in ("EXITED", "FATAL") and process.exit_code == CONFIGURATION:
            raise _gave_up(supervisor, process)
    answers = doors.survey(AskHealth(), SURVEY_S)
    return [
        _readiness(actor, processes.get(actor), answers.get(actor), since, elapsed_ms)
        for actor in actors
    ]


def _readiness(
    actor: str,
    process: Process | None,
    health: object,
    since: dict[str, float],
    elapsed_ms: float,
) -> Readiness:
    if process is None:
        raise FleetError(f"{actor} is in fleet.roster but not in supervisord.conf; add it there")
    ready = isinstance(health, Health) and health.ready and health.pid == process.pid
    if not ready:
        since.pop(actor, None)
    waits_for = health.detail if isinstance(health, Health) else "its door to open"
    return Readiness(
        actor=actor,
        pid=process.pid,
        ready_ms=round(since.setdefault(actor, elapsed_ms), 1) if ready else None,
        waits_for="" if ready else waits_for if process.pid else state_of(process),
    )


def _gave_up(supervisor: Supervisor, process: Process) -> BargeinError:
    tail = supervisor.log_tail(process.name, lines=1) or ["it printed nothing"]
    return FleetError(f"{process.name} gave up: {tail[-1]}")


def _not_ready(supervisor: Supervisor, late: Sequence[Readiness], waited_s: float) -> BargeinError:
    names = ", ".join(f"{row.actor} (waits for: {row.waits_for})" for row in late)
    for row in late:
        for line in supervisor.log_tail(row.actor):
            console.print(f"{row.actor} | {line}", markup=False, highlight=False)
    return FleetError(
        f"not ready after {waited_s:g} s: {names}; see var/log/{late[0].actor}.log, or raise "
        "fleet.start_wait_s if the engine needs longer to load"
    )


# -- what is shown -------------------------------------------------------------------------------


def _readiness_table(found: Sequence[Readiness], elapsed_ms: float) -> Table:
    table = Table(title=f"starting, {elapsed_ms:.0f} ms")
    for heading in ("actor", "pid", "ready after ms", "waits for"):
        table.add_column(heading)
    for row in found:
        ready = "" if row.ready_ms is None else f"{row.ready_ms:.0f}"
        table.add_row(row.actor, str(row.pid or ""), ready, row.waits_for)
    return table


COLUMNS = (
    ("actor", "left"),
    ("pid", "right"),
    ("state", "left"),
    ("up\ns", "right"),
    ("re-\nstarts", "right"),
    ("RSS\nMB", "right"),
    ("beat\nage ms", "right"),
    ("in", "right"),
    ("out", "right"),
    ("stale/bad/\nmissed", "right"),
    ("lag\nms", "right"),
    ("loop\nms", "right"),
)
"""Fits a terminal of 80 columns."""


def _status_table(found: Sequence[Row]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0))
    for heading, side in COLUMNS:
        table.add_column(heading, justify="right" if side == "right" else "left")
    for row in found:
        table.add_row(row.actor, _cell(row.pid or None), _state(row), *_figures(row))
    return table


def _state(row: Row) -> str:
    if row.ready is None:
        return row.state
    return "ready" if row.ready else f"NOT READY: {row.detail or row.state}"


def _figures(row: Row) -> list[str]:
    dropped = "-" if row.stale is None else f"{row.stale}/{row.malformed}/{row.missed}"
    before = (row.uptime_s, row.restarts, row.rss_mb, row.heartbeat_age_ms, row.received, row.sent)
    return [*map(_cell, before), dropped, _cell(row.lag_ms), _cell(row.loop_age_ms)]


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _print_flags(found: Sequence[Row]) -> None:
    """ENABLE_BARGE_IN of each process in one line, then who has to be restarted and why."""
    values: dict[str, list[str]] = {}
    for row in found:
        if "fleet.enable_barge_in" in row.flags:
            values.setdefault(str(int(row.flags["fleet.enable_barge_in"])), []).append(row.actor)
    for value, actors in values.items():
        console.print(f"ENABLE_BARGE_IN={value}: {', '.join(actors)}", highlight=False)
    for row in found:
        for key, change in row.restart_needed.items():
            console.print(
                f"restart needed: bargein restart {row.actor}  ({key}: {change})", highlight=False
            )


def _print_troubles(found: Sequence[Row]) -> None:
    """What works, but not as it should."""
    for row in found:
        if row.gauges.get("unprotected_channels"):
            console.print(
                "[red]caller sound is in memory alone[/]: see var/log/audio_in.log, make room"
            )
        if row.gauges.get("degraded_sessions"):
            count = row.gauges["degraded_sessions"]
            console.print(
                f"[yellow]{count:.0f} channels are transcribed in batches[/]: see `bargein breaker`"
            )
        if row.gauges.get("open_circuits"):
            console.print("[yellow]circuits are not closed[/]: see `bargein breaker`")
        if row.trouble:
            console.print(f"[red]{row.actor}[/]: {escape(row.trouble)}", highlight=False)


def _print_smoke(found: Sequence[Row]) -> None:
    """How the last speech smoke test went."""
    for row in found:
        if "smoke_runs" in row.gauges:
            console.print(f"speech smoke test: {smoke_line(row.gauges)}", highlight=False)


def with_budget(row: Row, settings: Settings) -> Row:
    """turn_manager's row says how long a CANCEL round may take, and why."""
    if row.actor != MANAGER:
        return row
    budget_ms, why = settings.cancel.release_ms, budget_reason(settings)
    return msgspec.structs.replace(row, cancel_budget_ms=budget_ms, cancel_budget=why)


def smoke_line(gauges: Mapping[str, float]) -> str:
    """When, whether it passed, and what was heard in how long."""
    if not gauges["smoke_runs"]:
        return "none yet; one follows each call"
    return (
        f"{'passed' if gauges['smoke_passed'] else 'FAILED'} {gauges['smoke_age_s']:.0f} s ago, "
        f"{gauges['smoke_sound_ms']:.0f} ms of sound at {gauges['smoke_dbfs']:.1f} dBFS, made in "
        f"{gauges['smoke_took_ms']:.0f} ms ({gauges['smoke_failures']:.0f} of "
        f"{gauges['smoke_runs']:.0f} failed)"
    )


def _warn_of_shell(supervisor: Supervisor) -> None:
    for name in shell_differs(supervisor):
        console.print(
            f"note: {name} of this shell is not what the fleet was started with; a restart keeps "
            "the fleet's value. To change it: bargein down, then bargein up",
            highlight=False,
        )


def _print_json(found: Sequence[msgspec.Struct]) -> None:
    print(msgspec.json.encode(found).decode())


def register(app: typer.Typer) -> None:
    """Add these commands to the one CLI."""
    for command in (up, down, restart, status, cancel):
        app.command()(command)
