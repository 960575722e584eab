"""chaos: a seed and a length come in; a fleet of its own is harmed while real speech goes through it."""

from __future__ import annotations

import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bus.errors import BargeinError
from bus.settings import home
from soak.chaos.faults import KINDS, Kind
from soak.chaos.figures import Bar, Figures, Kinds, spread
from soak.chaos.run import Made, Order, run

console = Console()
UNCLEAN_ROWS = 20


class NotProven(BargeinError):
    """A bar was missed; the message says which."""

    exit_code = 65


class BadKind(BargeinError):
    """There is no such kind of fault."""

    exit_code = 64


def chaos(
    seed: Annotated[int, typer.Option(help="The same seed makes the same faults and calls.")] = 1,
    minutes: Annotated[float, typer.Option(help="How long faults come, in minutes.", min=0.1)] = 5,
    every: Annotated[
        float, typer.Option("--every", help="Seconds between two faults, on average.", min=0.2)
    ] = 3.4,
    calls: Annotated[int, typer.Option(help="Calls at once.", min=1, max=32)] = 3,
    kinds: Annotated[str, typer.Option(help="Some of: " + ", ".join(KINDS) + ".")] = ",".join(
        KINDS
    ),
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Where results.json, logs and bad calls go.")
    ] = None,
    as_json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Kill, wedge, reset, fill, break and mislead a fleet of its own during calls. Exit 65 on any loss."""
    where = folder or home() / "var" / "bench" / "chaos" / time.strftime("%Y%m%d-%H%M%S")
    order = Order(seed, minutes * 60, every, calls, _kinds(kinds), where)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # else its fleet would go on for ever
    err = Console(stderr=True)
    with err.status("") as status:
        made = run(order, lambda text: status.update(text))
    results = as_json(made)
    where.mkdir(parents=True, exist_ok=True)
    (where / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode(results)))
    if as_json_:
        print(msgspec.json.encode(results).decode())
    else:
        show(console, made)
        console.print(f"results.json, logs and calls that were not exact: {where}", soft_wrap=True)
    if missed := [bar.name for bar in made.bars if not bar.met]:
        raise NotProven(f"bars missed: {'; '.join(missed)}; see {where}")


def _kinds(text: str) -> tuple[Kind, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in KINDS:
            raise BadKind(f"--kinds {name!r}: no such kind; known: {', '.join(KINDS)}")
    return tuple(kind for kind in KINDS if kind in names) or KINDS


def as_json(made: Made) -> dict[str, object]:
    """Everything that was measured."""
    figures = asdict(made.figures)
    figures["silence_s"] = msgspec.to_builtins(made.figures.silence_s)
    return {"bars": msgspec.to_builtins(made.bars), **figures}


def show(out: Console, made: Made) -> None:
    """Bars, faults by kind, what was not exact."""
    out.print(_bar_table(made.bars))
    out.print(_kind_table(made.figures))
    out.print(_time_table(made.figures))
    left = {name: value for name, value in made.figures.gauges.items() if value}
    out.print(f"gauges not back to zero: {left or 'none'}")
    for line in made.figures.unclean[:UNCLEAN_ROWS]:
        out.print(f"  {line}", soft_wrap=True)


def _bar_table(found: list[Bar]) -> Table:
    table = Table(title="Promises", title_justify="left", box=SIMPLE_HEAD)
    for name in ("figure", "measured", "must be", "verdict"):
        table.add_column(name, justify="right" if name in ("measured", "must be") else "left")
    for bar in found:
        verdict = "[green]pass[/]" if bar.met else "[red]FAIL[/]"
        table.add_row(bar.name, f"{bar.value:.5g} {bar.unit}", bar.must, verdict)
    return table


def _kind_table(figures: Figures) -> Table:
    table = Table(title="Calls that met a kind of fault", title_justify="left", box=SIMPLE_HEAD)
    columns = (
        *("kind", "faults", "calls", "samples", "transcribed", "lost", "twice"),
        *("reordered", "words", "missing", "dropped"),
    )
    for name in columns:
        table.add_column(name, justify="left" if name == "kind" else "right")
    for kind in (*figures.kinds, figures.total):
        account, words = kind.account, kind.words
        table.add_row(
            "all" if kind is figures.total else kind.kind,
            *map(str, (kind.faults, kind.calls, account.samples, account.transcribed)),
            *map(str, (account.lost, account.duplicated, account.reordered)),
            *map(str, (words.said, words.missing, kind.dropped)),
        )
    return table


def _time_table(figures: Figures) -> Table:
    title = (
        "Seconds: p50 / p95 / worst (count); of faults with no other on the same victim meanwhile"
    )
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for name in ("kind", "noticed after", "mended after", "silence after a question"):
        table.add_column(name, justify="left" if name == "kind" else "right")
    for kind in (*figures.kinds, figures.total):
        label = "all" if kind is figures.total else kind.kind
        table.add_row(label, *_times(kind))
    return table


def _times(kind: Kinds) -> list[str]:
    found = []
    for values in (kind.noticed_s, kind.back_s, kind.silences_s):
        one = spread(values)
        found.append(f"{one.p50:.2f} / {one.p95:.2f} / {one.worst:.2f} ({one.n})" if one.n else "-")
    return found


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(chaos)
