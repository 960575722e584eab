"""What the whole fleet costs when nobody calls: memory and CPU of supervisord and all below it."""

from __future__ import annotations

import time

import psutil

from ops.supervisor import Supervisor
from soak.bench_home import fleet, scratch, with_responder
from soak.bench_kit import Result, Row, Tell
from soak.bench_procs import cpu_s, family, memory

NAME = "idle"
SETTLE_S, SECONDS = 5.0, 20.0
BAR_MB, BAR_CPU = 600, 5
MODULE = 3
"""Where the command line of ours names the module: python -P -m MODULE [NAME]."""


def run(tell: Tell, tiny: bool) -> Result:
    """The real fleet on embedded engines, left alone."""
    settle_s, seconds = (0.1, 0.3) if tiny else (SETTLE_S, SECONDS)
    tell("starting the fleet")
    with scratch(with_responder({})) as settings, fleet(settings) as supervisor:
        time.sleep(settle_s)
        tell(f"idle for {seconds:g} s")
        return measured(supervisor, seconds)


def measured(supervisor: Supervisor, seconds: float) -> Result:
    """The fleet as it is in the next `seconds`."""
    pid = supervisor.require()
    before, began = cpu_s(pid), time.monotonic()
    time.sleep(seconds)
    cpu = 100 * (cpu_s(pid) - before) / (time.monotonic() - began)
    sizes = [(_name(process), *memory(process.pid)) for process in family(pid)]
    rows = [
        Row(
            bench=NAME,
            name="RSS in all",
            value=sum(size[1] for size in sizes),
            unit="MB",
            bar=BAR_MB,
        ),
        Row(bench=NAME, name="PSS in all", value=sum(size[2] for size in sizes), unit="MB"),
        Row(bench=NAME, name="CPU in all", value=cpu, unit="% core", bar=BAR_CPU),
    ]
    rows += [Row(bench=NAME, name=f"RSS of {name}", value=rss, unit="MB") for name, rss, _ in sizes]
    return Result(bench=NAME, rows=tuple(rows))


def _name(process: psutil.Process) -> str:
    line: list[str] = process.cmdline()
    if line[1:3] != ["-P", "-m"]:
        return str(process.name())
    return line[MODULE + 1] if line[MODULE] == "actors" else line[MODULE]
