"""`make gpu-check`: the large engines on a graphics card, all at once; a page and a JSON file come out.

Nemotron 0.6B, Parakeet 0.6B and Chatterbox, whole but with random weights (what they say is nothing, their
speed is the real one), each in a process of its own. Then the fleet runs with them as its engines, while
these processes work on, and turns are cancelled. `--small`: shrunken models on the CPU, without bars on
speed.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from bus.errors import BargeinError
from bus.settings import home
from soak import bench_load
from soak.bench_home import Tables, fleet, scratch, with_responder
from soak.bench_kit import Result, Row, percentile, spread
from soak.bench_procs import Child, children
from soak.random_chatterbox import SMALL_CHUNKS

CHATTERBOX, LIVE, WHOLE = "chatterbox", "nemotron", "parakeet"
ENVIRONMENT = {CHATTERBOX: "chatterbox", LIVE: "nemo", WHOLE: "nemo"}
SILENT_S = 1800.0
"""A process that says nothing for longer is ended."""
IDLE_MS, STEP_MS, FIRST_MS, GROWN_MB = 10, 40, 200, 200
"""The bars. p99 of CANCEL → device idle and of nemotron's step; p50 of the first chunk; memory."""
CANCELS_AT_LEAST = 1000
console = Console()


class NotInstalled(BargeinError):
    """An environment is missing; the message says how to make it."""

    exit_code = 69


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    name: str
    sentences: int
    cancels: int
    steps: int
    sessions: int
    recordings: int
    rounds: int


WHOLE_SIZE = Size("whole", 50, CANCELS_AT_LEAST, 1000, 500, 100, bench_load.ROUNDS)
SMALL = Size("small", 3, 20, 20, 30, 3, 3)


def check(size: Size) -> tuple[dict[str, Any], list[Result]]:
    """What it was measured on, and all figures. Raises NotInstalled, ChildFailed, FleetError."""
    with scratch() as settings, _processes(settings.home, size) as workers:
        card = _loaded(workers)
        figures = _measured(workers)
        if size is SMALL:
            for worker in workers:
                worker.end()
        fenced = _fleet(settings.home, size)
    results = [
        _chatterbox(figures[CHATTERBOX]),
        _nemotron(figures[LIVE]),
        _parakeet(figures[WHOLE]),
        fenced,
    ]
    return card, [_without_bars(one) if size is SMALL else one for one in results]


# -- the engines ---------------------------------------------------------------------------------


@contextmanager
def _processes(folder: Path, size: Size) -> Iterator[list[Child]]:
    asked = {
        CHATTERBOX: ("soak.gpu_check_chatterbox", str(size.sentences), str(size.cancels)),
        LIVE: ("soak.gpu_check_nemo", "live", str(size.steps), str(size.sessions)),
        WHOLE: ("soak.gpu_check_nemo", "whole", str(size.recordings)),
    }
    makers = [
        partial(
            Child,
            folder,
            name,
            module,
            str(folder / name),
            size.name,
            *rest,
            python=str(_python(ENVIRONMENT[name])),
            **_here(),
        )
        for name, (module, *rest) in asked.items()
    ]
    with children(makers) as started:
        yield started


def _python(environment: str) -> Path:
    python = home({}) / ".engines" / environment / "bin" / "python"
    if not python.is_file():
        raise NotInstalled(f"no {python}: run `make engine-{environment}`")
    return python


def _here() -> dict[str, str]:
    """The environments have this repository, whichever one they were installed from."""
    return {"PYTHONPATH": str(home({})), "PYTHONUNBUFFERED": "1"}


def _loaded(workers: list[Child]) -> dict[str, Any]:
    """When all models are; the card."""
    with ThreadPoolExecutor(len(workers)) as threads:
        answers = list(threads.map(partial(_next, wanted="ready"), workers))
    return {key: answers[0][key] for key in ("card", "torch", "size")}


def _measured(workers: list[Child]) -> dict[str, dict[str, Any]]:
    """All at once; who is done works on."""
    for worker in workers:
        worker.tell("go")
    with ThreadPoolExecutor(len(workers)) as threads:
        figures = list(threads.map(partial(_next, wanted="over"), workers))
    return {worker.name: one for worker, one in zip(workers, figures, strict=True)}


def _next(worker: Child, wanted: str) -> dict[str, Any]:
    """Its next line with that word; what it does meanwhile is shown."""
    while True:
        line: dict[str, Any] = worker.hear(SILENT_S)
        if line.get(wanted):
            return line
        _tell(f"{worker.name}: {line['doing']}")


def _tell(text: str) -> None:
    console.print(f"[dim]{datetime.datetime.now():%H:%M:%S} {text}[/]", highlight=False)


def _chatterbox(found: Mapping[str, Any]) -> Result:
    row = partial(Row, bench=CHATTERBOX)
    idle, first = found["idle_ms"], found["first_ms"]
    rows = [
        *spread(CHATTERBOX, "CANCEL to worker free", found["free_ms"], "ms"),
        *spread(CHATTERBOX, "CANCEL to device idle", idle, "ms"),
        row(name="the same, p99, bar", value=percentile(idle, 99), unit="ms", bar=IDLE_MS),
        row(name="cancels", value=len(idle), unit="count", bar=CANCELS_AT_LEAST, sense=">="),
        row(name="device busy when free", value=found["busy"], unit="count", bar=0),
        row(name="syntheses compared", value=found["compared"], unit="count"),
        row(name="of these not the same to the byte", value=found["differ"], unit="count", bar=0),
        *spread(CHATTERBOX, "first chunk", first, "ms"),
        row(name="the same, p50, bar", value=percentile(first, 50), unit="ms", bar=FIRST_MS),
        row(name="time per second of sound", value=found["real_time_factor"], unit="s"),
    ]
    return Result(bench=CHATTERBOX, rows=tuple(rows), detail=dict(found))


def _nemotron(found: Mapping[str, Any]) -> Result:
    row, took, calls = partial(Row, bench=LIVE), found["step_ms"], found["calls"]
    rows = [
        *spread(LIVE, f"step of {calls} calls, 160 ms each", took, "ms"),
        row(name="the same, p99, bar", value=percentile(took, 99), unit="ms", bar=STEP_MS),
        row(name="sessions opened and closed", value=found["sessions"], unit="count"),
        row(name="memory they left behind", value=found["grown_mb"], unit="MB", bar=GROWN_MB),
    ]
    return Result(bench=LIVE, rows=tuple(rows), detail=dict(found))


def _parakeet(found: Mapping[str, Any]) -> Result:
    name = f"recording of {found['seconds']} s"
    rows = [
        *spread(WHOLE, name, found["recording_ms"], "ms"),
        Row(bench=WHOLE, name="words in them", value=found["words"], unit="count"),
    ]
    return Result(bench=WHOLE, rows=tuple(rows), detail=dict(found))


# -- the fleet -----------------------------------------------------------------------------------


def _fleet(files: Path, size: Size) -> Result:
    """Turns are cancelled while stt and tts compute in it, and the processes beside it."""
    device = "cpu" if size is SMALL else "cuda"
    tables: dict[str, Mapping[str, Any]] = {
        **bench_load.SETTINGS,
        "stt": {"engine": "nemo", "batch_engine": "nemo"},
        "nemo": {
            "model": str(files / LIVE / "live.nemo"),
            "batch_model": str(files / WHOLE / "whole.nemo"),
            "device": device,
            "max_sessions": 16,
        },
        "tts": {"engine": "chatterbox", "stall_ms": 20_000, "fallbacks": []},
        "chatterbox": {"model": str(files / CHATTERBOX), "device": device},
        "warden": {"boot_grace_s": 600.0},
    }
    _tell("the fleet: starting it with these engines")
    if size is SMALL:
        tables["chatterbox"] = {**tables["chatterbox"], **SMALL_CHUNKS}
    with _fleet_of(tables, size) as where:
        return bench_load.measured(where, size.rounds, lambda text: _tell(f"the fleet: {text}"))


@contextmanager
def _fleet_of(tables: Tables, size: Size) -> Iterator[Path]:
    actors = "soak.gpu_check_actor" if size is SMALL else "actors"
    with scratch(with_responder(tables)) as settings:
        (settings.home / ".engines").symlink_to(home({}) / ".engines")
        with fleet(settings, _here(), actors, ready_s=600.0):
            yield settings.home


# -- what is shown and kept ----------------------------------------------------------------------


def _without_bars(result: Result) -> Result:
    """Of small models on the CPU only what is right or wrong counts."""
    rows = tuple(
        row if row.bar == 0 else msgspec.structs.replace(row, bar=None) for row in result.rows
    )
    return msgspec.structs.replace(result, rows=rows)


def page(card: Mapping[str, Any], results: list[Result], when: datetime.date) -> str:
    """Markdown: what was measured, the bars, the verdicts."""
    whole = card["size"] == "whole"
    beside = "while these processes work on" if whole else "after these processes have ended"
    lines = [
        f"# On a graphics card: {card['card']}, {when}",
        "",
        "`make gpu-check`: nemotron 0.6B, Parakeet TDT 0.6B and Chatterbox (base), each in a process of",
        f"its own and all at once, {card['size']}, with random weights; then the fleet with them as its",
        f"engines, {beside}.",
        f"torch {card['torch']}, Python {card['python']}, {card['cores']} cores.",
        "",
    ]
    for result in results:
        lines += [
            f"## {result.bench}",
            "",
            "| what | measured | unit | bar | verdict |",
            "|---|---|---|---|---|",
        ]
        lines += [_line(row) for row in result.rows] + [""]
    return "\n".join(lines)


def _line(row: Row) -> str:
    bar = "" if row.bar is None else f"{row.sense} {row.bar:g}"
    verdict = {None: "", True: "ok", False: "missed"}[row.verdict]
    return f"| {row.name} | {row.value:.4g} | {row.unit} | {bar} | {verdict} |"


def write(folder: Path, card: Mapping[str, Any], results: list[Result]) -> Path:
    """The page and, beside it, all samples as JSON; returns the page."""
    today = datetime.date.today()
    name = re.sub(r"[^a-z0-9]+", "-", str(card["card"]).lower()).strip("-")
    file = folder / f"{today}-gpu-{name}.md"
    file.write_text(page(card, results, today))
    benches = [
        {
            **msgspec.to_builtins(one),
            "rows": [{**msgspec.to_builtins(row), "ok": row.verdict} for row in one.rows],
        }
        for one in results
    ]
    figures = {"date": str(today), "machine": dict(card), "benches": benches}
    file.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
    return file


def main(arguments: list[str]) -> int:
    """1 when a bar is missed, 69 or 70 when it can't be measured."""
    parser = argparse.ArgumentParser(prog="gpu_check", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--small", action="store_true", help="shrunken models, on the CPU")
    parser.add_argument("--into", type=Path, help="folder of the page and the JSON file")
    given = parser.parse_args(arguments)
    size = SMALL if given.small else WHOLE_SIZE
    into = given.into or home({}) / ("var" if given.small else "docs/measurements")
    try:
        card, results = check(size)
    except BargeinError as error:
        print(f"gpu-check: {error}", file=sys.stderr)
        return error.exit_code
    card |= {"python": platform.python_version(), "cores": os.cpu_count()}
    file = write(into, card, results)
    console.print(file.read_text(), markup=False, highlight=False)
    console.print(f"written: {file} and its .json", highlight=False)
    missed = [
        f"{row.bench}: {row.name}" for one in results for row in one.rows if row.verdict is False
    ]
    if missed:
        print("gpu-check: bars missed: " + "; ".join(missed), file=sys.stderr)
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
