"""breaker: in comes show, trip or reset, out comes how the circuits stand."""

from __future__ import annotations

import json
import time
from typing import Annotated, Literal

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bus.ask import ask
from bus.endpoints import Endpoints
from bus.errors import FleetError
from bus.settings import load
from ops.supervisor import Supervisor
from schemas import AskBreakers, Breakers, CircuitState, Event, Refused, ResetBreaker, TripBreaker

console = Console()
ANSWER_S = 3.0


def breaker(
    action: Annotated[str, typer.Argument(help="show, trip or reset.")] = "show",
    service: Annotated[str, typer.Argument(help="A service `bargein breaker` lists, as stt.")] = "",
    endpoint: Annotated[str, typer.Option(help="Its endpoint, where it has several.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """The circuits of engines, endpoints and actors; opens or closes one by hand."""
    if action not in ("show", "trip", "reset"):
        raise typer.BadParameter(f"{action!r}; allowed: show, trip, reset")
    if action != "show" and not service:
        raise typer.BadParameter(
            f"{action} what? name a service, as in `bargein breaker {action} stt`"
        )
    settings = load()
    Supervisor(settings.home).require()
    where = Endpoints(settings.run_dir)
    if action == "trip":
        _ask(where, TripBreaker(service=service, endpoint=endpoint))
    elif action == "reset":
        _ask(where, ResetBreaker(service=service, endpoint=endpoint))
    report = _ask(where, AskBreakers())
    circuits = report.circuits if isinstance(report, Breakers) else ()
    if as_json:
        print(json.dumps([msgspec.to_builtins(circuit) for circuit in circuits]))
    else:
        console.print(
            _table(circuits) if circuits else "no circuit yet: nothing has failed or worked"
        )


def _ask(where: Endpoints, request: Event) -> Event:
    answer = ask(where, "breaker", request, timeout_s=ANSWER_S)
    if isinstance(answer, Refused):
        raise FleetError(f"breaker refused ({answer.status}): {answer.why}")
    return answer


def _table(circuits: tuple[CircuitState, ...]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    for heading in ("service", "endpoint", "state"):
        table.add_column(heading)
    for heading in ("failures", "since s", "probe in s"):
        table.add_column(heading, justify="right")
    table.add_column("why")
    now = time.monotonic_ns()
    for circuit in circuits:
        since = f"{(now - circuit.since_ns) / 1e9:.0f}" if circuit.since_ns else "-"
        left = circuit.half_opens_ns
        table.add_row(
            circuit.service,
            circuit.endpoint or "-",
            _COLOURS[circuit.state],
            str(circuit.failures),
            since,
            f"{max(0, left - now) / 1e9:.0f}" if left is not None else circuit.probe or "-",
            circuit.reason or "-",
        )
    return table


_COLOURS: dict[Literal["closed", "open", "half_open"], str] = {
    "closed": "[green]closed[/]",
    "open": "[red]open[/]",
    "half_open": "[yellow]half open[/]",
}


def register(app: typer.Typer) -> None:
    """Add the command to the CLI."""
    app.command()(breaker)
