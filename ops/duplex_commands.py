"""bench duplex: in come trials or recordings, out come scores of how the agent is talked over."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bus.endpoints import Endpoints
from bus.settings import Settings, load
from ops import fleet_commands
from ops.supervisor import Supervisor
from soak.duplex import own, plots, trials
from soak.duplex.run import Bench, Made, run
from soak.duplex.score import Outcome
from soak.duplex.totals import Bar, Spread, Totals, as_json, bars, doubtful, totals

console = Console()
TRIALS = 200
ROWS = 30
"""Failures listed on the terminal; results.json has them all."""
TOLD_EVERY = 20
"""Trials, where no bar can be drawn."""


def duplex(
    count: Annotated[
        int | None, typer.Option("--trials", help="How many trials; default 200, or the folder's.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same trials.")] = 1,
    parallel: Annotated[int, typer.Option(help="Calls at once.", min=1, max=32)] = 4,
    kinds: Annotated[str, typer.Option(help="Some of: " + ",".join(trials.KINDS) + ".")] = ",".join(
        trials.KINDS
    ),
    wav_dir: Annotated[
        Path | None, typer.Option("--wav-dir", help="Your own recordings, with a manifest.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep every call, not only failures.")
    ] = False,
    as_json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Talk over the real fleet in real time, and score what was heard."""
    settings, wanted = load(), trials.of_kinds(kinds)
    chosen = _chosen(wav_dir, count, seed, wanted)
    folder = settings.home / "var" / "bench" / "duplex" / time.strftime("%Y%m%d-%H%M%S")
    folder.mkdir(parents=True)
    with _fleet(settings):
        made = _run(Bench(Endpoints(settings.run_dir), folder, parallel, keep=keep), chosen)
    outcomes = [one.outcome for one in made]
    total = totals(outcomes)
    about = {"seed": seed, "parallel": parallel, "kinds": wanted, "wav_dir": str(wav_dir or "")}
    results = as_json(outcomes, total, **about)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    _draw(folder, made)
    if as_json_:
        print(json.dumps({**results, "folder": str(folder)}))
        return
    show(console, outcomes, total)
    console.print(
        f"results.json, latencies.png, examples.png, failed calls: {folder}", soft_wrap=True
    )


def _chosen(
    wav_dir: Path | None, count: int | None, seed: int, kinds: Sequence[trials.Kind]
) -> list[trials.Trial]:
    if wav_dir is None:
        return trials.make(TRIALS if count is None else count, seed, kinds)
    found = [trial for trial in own.load(wav_dir, seed, count) if trial.kind in kinds]
    if not found:
        raise trials.BadTrials(f"{wav_dir}: holds no recording of {', '.join(kinds)}")
    return found


@contextmanager
def _fleet(settings: Settings) -> Iterator[None]:
    """The running fleet, or one that runs as long as the trials do."""
    supervisor = Supervisor(settings.home)
    if supervisor.pid():
        yield
        return
    with redirect_stdout(sys.stderr):
        fleet_commands.up()
    try:
        yield
    finally:
        with redirect_stdout(sys.stderr):
            fleet_commands.down()


def _run(bench: Bench, chosen: Sequence[trials.Trial]) -> list[Made]:
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    out = Console(stderr=True)
    with Progress(*columns, console=out, disable=not out.is_terminal) as shown:
        task = shown.add_task("first trial", total=len(chosen))
        ended, total = 0, len(chosen)

        def tell(text: str, more: int) -> None:
            nonlocal ended, total
            ended, total = ended + (not more), total + more
            shown.update(task, completed=ended, total=total, description=text)
            if not out.is_terminal and ended % TOLD_EVERY == 0:
                out.print(f"{ended} of {total} trials: {text}", highlight=False)

        return run(bench, chosen, tell)


def _draw(folder: Path, made: Sequence[Made]) -> None:
    plots.draw_latencies(folder / "latencies.png", [one.outcome for one in made])
    strips = [(one.outcome, one.strip) for one in made if one.strip is not None]
    plots.draw_examples(folder / "examples.png", strips)


# -- what is shown ----------------------------------------------------------------------------------


def show(out: Console, outcomes: Sequence[Outcome], total: Totals) -> None:
    """Bars, figures, failures."""
    if warning := doubtful(total):
        out.print(f"[bold red]{warning}[/]")
    out.print(_bar_table(bars(total)))
    out.print(_figure_table(total))
    wrong = [outcome for outcome in outcomes if outcome.failed or outcome.invalid]
    if wrong:
        out.print(_failure_table(wrong[:ROWS]))
    if len(wrong) > ROWS:
        out.print(f"and {len(wrong) - ROWS} more in results.json")


def _bar_table(found: Sequence[Bar]) -> Table:
    table = _table("Promises", ("figure",), ("measured", "must be"), ("verdict",))
    for bar in found:
        verdict = {None: "not measured", True: "[green]pass[/]", False: "[red]FAIL[/]"}[bar.met]
        table.add_row(bar.name, _value(bar.value, bar.unit), f"{bar.must} {bar.unit}", verdict)
    return table


def _figure_table(total: Totals) -> Table:
    table = _table("Figures", ("figure",), ("trials", "p50", "p90", "p95"), ())
    spreads = {
        "onset to -20 dB, ms": total.quiet_ms,
        "onset to silence, ms": total.stop_ms,
        "interruption's end to answer, ms": total.response_after_interruption_ms,
        "own turn's end to answer, ms": total.response_own_turn_ms,
        "false duck, s (where ducked)": total.false_duck_s,
    }
    for name, found in spreads.items():
        table.add_row(name, str(found.count), *_percentiles(found))
    table.add_section()
    for name, value in _counts(total).items():
        table.add_row(name, value)
    return table


def _counts(total: Totals) -> dict[str, str]:
    spared = total.trials["backchannel"] + total.trials["noise"]
    return {
        "valid trials": ", ".join(f"{count} {kind}" for kind, count in total.trials.items()),
        "invalid trials": str(total.invalid),
        "tries made again": ", ".join(f"{n}: {why}" for why, n in total.again.items()) or "0",
        "selectivity": f"backchannel {_value(total.selectivity_backchannel)}, "
        f"noise {_value(total.selectivity_noise)}",
        "interruptions answered": _value(total.answered_rate),
        "false stops": f"{total.false_stops} of {spared} trials",
        "false ducks": f"{total.false_ducks} in {total.trials_ducked} of {spared} trials",
        "cut-ins": f"{total.cut_ins} trials; {_value(total.cut_in_share_of_pauses)} of pauses",
        "double answers": f"{total.double_answers} trials",
        "resumptions answered in part": f"{total.partly_answered} trials",
        "first two words lost": f"{total.first_words_lost} of {total.first_words_expected} words",
    }


def _failure_table(wrong: Sequence[Outcome]) -> Table:
    table = _table("Failed and invalid trials", ("trial", "what", "said", "heard as"), (), ())
    for outcome in wrong:
        what = ", ".join(outcome.failed) or f"invalid: {outcome.invalid}"
        said = f"{outcome.text} ({outcome.voice or '-'}; {outcome.conditions})"
        table.add_row(outcome.name, what, said, outcome.recognised or "-")
    return table


def _table(title: str, words: Sequence[str], numbers: Sequence[str], more: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for heading in words:
        table.add_column(heading)
    for heading in numbers:
        table.add_column(heading, justify="right")
    for heading in more:
        table.add_column(heading)
    return table


def _percentiles(found: Spread) -> list[str]:
    return ["-" if value is None else f"{value:g}" for value in (found.p50, found.p90, found.p95)]


def _value(value: float | None, unit: str = "") -> str:
    return "-" if value is None else f"{value:g} {unit}".strip()


def register(bench_app: typer.Typer) -> None:
    """Add the command to `bargein bench`."""
    bench_app.command()(duplex)
