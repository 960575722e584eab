"""All speed benches: names go in, results come out as they are finished, and as one JSON file."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from bus.errors import BargeinError
from soak import (
    bench_backlog,
    bench_calls,
    bench_endpoint,
    bench_fanout,
    bench_idle,
    bench_journal,
    bench_load,
    bench_oneway,
    bench_stale,
    bench_voice,
)
from soak.bench_kit import Bench, Result, Tell

BENCHES: dict[str, Bench] = {
    bench_fanout.NAME: bench_fanout.run,
    bench_oneway.NAME: bench_oneway.run,
    bench_journal.NAME: bench_journal.run,
    bench_idle.NAME: bench_idle.run,
    bench_load.NAME: bench_load.run,
    bench_calls.NAME: bench_calls.run,
    bench_stale.NAME: bench_stale.run,
    bench_voice.NAME: bench_voice.run,
    bench_endpoint.NAME: bench_endpoint.run,
    bench_backlog.NAME: bench_backlog.run,
}
"""In the order they are run: what is most easily disturbed comes first."""


class NoSuchBench(BargeinError):
    """The name is not in the list; the message has it."""

    exit_code = 64


def chosen(only: Iterable[str]) -> list[str]:
    """The names asked for, all when there are none. Raises NoSuchBench."""
    names = list(only)
    for name in names:
        if name not in BENCHES:
            raise NoSuchBench(f"no bench {name!r}; known: {', '.join(BENCHES)}")
    return names or list(BENCHES)


def results(names: Iterable[str], tell: Tell, tiny: bool = False) -> Iterator[Result]:
    """Run one after the other."""
    for name in names:
        began = time.monotonic()
        result = BENCHES[name](_named(name, tell), tiny)
        yield msgspec.structs.replace(result, seconds=time.monotonic() - began)


def _named(name: str, tell: Tell) -> Tell:
    return lambda text: tell(f"{name}: {text}")


def machine() -> dict[str, object]:
    """In general terms: what the figures depend on."""
    return {
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "load_1min": os.getloadavg()[0],
    }


def write(path: Path, before: dict[str, object], found: list[Result]) -> None:
    """Results, verdicts and details; `before`: the machine as it was when the benches began."""
    benches = [
        {
            **msgspec.to_builtins(result),
            "rows": [{**msgspec.to_builtins(row), "ok": row.verdict} for row in result.rows],
        }
        for result in found
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        msgspec.json.format(msgspec.json.encode({"machine": before, "benches": benches}))
    )
