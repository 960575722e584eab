"""`bargein preflight`: settings go in, ordered gates are passed one by one; the first failure stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table

from bus.errors import BargeinError, FleetError
from bus.floor import Floor, stored, write
from bus.settings import Settings, load
from engines.protocols import EngineError
from ops import device_memory, llm_floor

console = Console()
LEAST = 30


class NotPassed(BargeinError):
    """A gate says no; the message says what to do."""

    exit_code = 69


def gate_llm_floor(settings: Settings, n: int, quiet: bool) -> msgspec.Struct:
    """Measure, store, show."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=Console(quiet=quiet), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def told(name: str, done: int, of: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=of)
            bars.update(tasks[name], completed=done)

        measured = asyncio.run(llm_floor.floor(settings, n, told))
    path = write(settings.home, measured)
    if not quiet:
        console.print(floor_table(measured))
        console.print(f"{budget_line(load())}\nstored in {path}; actors take it up when restarted")
    return measured


def gate_device_memory(settings: Settings, n: int, quiet: bool) -> msgspec.Struct:
    """Look, compare, show."""
    looked = device_memory.look(settings.home, settings.preflight.device_memory_over_mb)
    if not quiet:
        if looked.cards:
            console.print(memory_table(looked))
        for note in looked.notes:
            console.print(note, highlight=False)
    return looked


GATES: dict[str, Callable[[Settings, int, bool], msgspec.Struct]] = {
    "device-memory": gate_device_memory,
    "llm-floor": gate_llm_floor,
}
"""In the order in which they are passed."""


def preflight(
    gate: Annotated[
        str, typer.Argument(help=f"One of: {', '.join(GATES)}. Default: all, in this order.")
    ] = "",
    n: Annotated[int, typer.Option("--n", help="Cancels per case (count).", min=LEAST)] = LEAST,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure what this machine needs before calls are taken. No call may be in progress."""
    if gate and gate not in GATES:
        raise NotPassed(f"there is no gate {gate!r}; there are {', '.join(GATES)}")
    settings = load()
    found = {}
    for name, check in GATES.items():
        if gate in ("", name):
            try:
                found[name] = check(settings, n, as_json)
            except (EngineError, FleetError) as error:
                raise NotPassed(f"{name}: {error}") from None
    if as_json:
        print(msgspec.json.encode(found).decode())


def memory_table(looked: device_memory.Looked) -> Table:
    """MB of 2^20 bytes, card by card."""
    table = Table(title="Memory of the cards, MB", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("card")
    for heading in ("total MB", "free MB", "in use MB", "baseline MB"):
        table.add_column(heading, justify="right")
    table.add_column("baseline of")
    for card, before in zip(looked.cards, looked.baseline, strict=True):
        figures = (card.total_mb, card.free_mb, card.used_mb, before.used_mb)
        table.add_row(f"{card.index} {card.name}", *map(str, figures), before.at)
    return table


def floor_table(floor: Floor) -> Table:
    """ms from closing the connection until the server took up the next request."""
    title = (
        f"LLM cancel floor of {floor.model} at {floor.url}, ms until the next request is taken up"
    )
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("case")
    for heading in ("n", "p50 ms", "p95 ms", "max ms"):
        table.add_column(heading, justify="right")
    for name, row in {"nothing to cancel": floor.idle, **floor.cases}.items():
        times = (f"{value:.1f}" for value in (row.p50_ms, row.p95_ms, row.max_ms))
        table.add_row(name, str(row.n), *times)
    return table


def budget_line(settings: Settings) -> str:
    """What a CANCEL round waits for its last release, and why."""
    cancel = settings.cancel
    return f"cancel budget {cancel.release_ms} ms ({budget_reason(settings)})"


def budget_reason(settings: Settings) -> str:
    """Where it comes from."""
    if (floor := settings.measured()) is not None:
        return (
            f"LLM floor {floor.floor_ms:.0f} ms, p95 of its slowest case, measured {floor.at}, "
            f"+ {settings.cancel.over_floor_ms} ms"
        )
    last, llm = stored(settings.home), settings.llm
    if last is not None and (last.url, last.model) == (llm.url, llm.model):
        return (
            f"cancel.release_ms; the floor of {last.at} is of another model file, see "
            "`bargein preflight llm-floor`"
        )
    return "cancel.release_ms; no floor measured, see `bargein preflight llm-floor`"


def register(app: typer.Typer) -> None:
    """Add the command to the CLI."""
    app.command()(preflight)
