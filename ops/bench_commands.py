"""bench: in come names of benches, out come a table with bars and verdicts, and a JSON file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.status import Status
from rich.table import Table

from bus.errors import BargeinError
from bus.settings import home
from ops import duplex_commands
from soak.bench_kit import Result, Tell

console = Console()
bench_app = typer.Typer(help="Measure speed against bars and against plain pyzmq.")


class TooSlow(BargeinError):
    """A bar was missed; the message says which."""

    exit_code = 1


class NotWritable(BargeinError):
    """The JSON file can't be written."""

    exit_code = 73


@bench_app.callback(invoke_without_command=True)
def bench(
    context: typer.Context,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Run this bench alone; repeatable.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Where the figures go; default var/bench.json.")
    ] = None,
) -> None:
    """Run the speed benches, about 10 minutes in all. Exit 1 when a bar is missed."""
    if context.invoked_subcommand is not None:
        return
    from soak import bench as benches  # here, so that other commands start without it

    names = benches.chosen(only or [])
    path = json_file or home() / "var" / "bench.json"
    _check_writable(path)
    before = benches.machine()
    console.print(f"{len(names)} benches; load of this box before: {before['load_1min']:.1f}")
    found: list[Result] = []
    with console.status("") as status:
        for result in benches.results(names, _teller(status)):
            found.append(result)
            console.print(table(result))
            benches.write(path, before, found)
    console.print(f"figures and details: {path}")
    if missed := [
        f"{row.bench}: {row.name}" for one in found for row in one.rows if row.verdict is False
    ]:
        raise TooSlow("bars missed: " + "; ".join(missed))


def _teller(status: Status) -> Tell:
    return lambda text: status.update(text)


def _check_writable(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise NotWritable(
            f"--json {path}: can't be written ({error.strerror}); choose another file"
        ) from None


def table(result: Result) -> Table:
    """One bench: figure, bar, verdict a row."""
    shown = Table(title=f"{result.bench} ({result.seconds:.0f} s)", title_justify="left")
    for heading in ("", "measured", "unit", "bar", "verdict"):
        shown.add_column(heading, justify="right" if heading in ("measured", "bar") else "left")
    verdicts = {None: "", True: "[green]ok[/]", False: "[bold red]missed[/]"}
    for row in result.rows:
        bar = "" if row.bar is None else f"{row.sense} {row.bar:g}"
        shown.add_row(row.name, _figure(row.value), row.unit, bar, verdicts[row.verdict])
    return shown


def _figure(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"


def register(app: typer.Typer) -> None:
    """Add the command, and room for more below it."""
    duplex_commands.register(bench_app)
    app.add_typer(bench_app, name="bench")
