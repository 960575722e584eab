"""How many calls of synthetic media two cores carry: each way 50 frames/s, VAD on, no gap, none late.

Real processes: broker, turn_manager, audio_in with silero on onnxruntime, playback. Callers and
voices are one process of their own (soak/bench_lines.py), whose share of the CPU is told too.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from soak.bench_home import Tables, scratch, wait_ready
from soak.bench_kit import Result, Row, Tell
from soak.bench_procs import Child, children, cpu_s

NAME = "calls"
RAMP = (1, 10, 25, 50, 75, 100)
SECONDS, SETTLE_S = 7.0, 2.5
BAR_CALLS = 50
ACTORS = ("audio_in", "playback", "turn_manager")
SETTINGS: Tables = {"fleet": {"roster": list(ACTORS)}, "audio_in": {"vad": "silero-onnx"}}
CLEAN = ("late", "holes", "gaps")


def run(tell: Tell, tiny: bool) -> Result:
    """Up the ramp until it breaks."""
    ramp, seconds, settle_s = ((1, 2), 0.4, 0.2) if tiny else (RAMP, SECONDS, SETTLE_S)
    steps: list[dict[str, Any]] = []
    with scratch(SETTINGS) as settings:
        home = settings.home
        makers = [partial(Child, home, "broker", "bus.broker")]
        makers += [partial(Child, home, name, "actors", name) for name in ACTORS]
        with children(makers) as fleet:
            wait_ready(settings)
            with children([partial(Child, home, "lines", "soak.bench_lines")]) as (lines,):
                lines.hear()
                for calls in ramp:
                    tell(f"{calls} calls for {seconds:g} s")
                    steps.append(_step([*fleet, lines], lines, calls, seconds, settle_s))
                lines.tell(None)
                lines.hear()
    return Result(bench=NAME, rows=tuple(_rows(steps)), detail={"steps": steps})


def _step(
    processes: list[Child], lines: Child, calls: int, seconds: float, settle_s: float
) -> dict[str, Any]:
    lines.tell({"calls": calls, "seconds": seconds, "settle_s": settle_s})
    lines.hear()
    before, began = [cpu_s(child.pid) for child in processes], time.monotonic()
    figures: dict[str, Any] = lines.hear()
    took = time.monotonic() - began
    used = {
        child.name: 100 * (cpu_s(child.pid) - was) / took
        for child, was in zip(processes, before, strict=True)
    }
    figures["lost"] = max(0, round(0.98 * figures["expected_frames"]) - figures["frames"])
    return {"calls": calls, "cpu_percent": used, **figures}


def good(step: dict[str, Any]) -> bool:
    """No gap, no hole, none late, none missing."""
    return not any(step[name] for name in (*CLEAN, "lost"))


def _rows(steps: list[dict[str, Any]]) -> list[Row]:
    row = partial(Row, bench=NAME)
    carried = max((step["calls"] for step in steps if good(step)), default=0)
    rows = [
        row(
            name="calls without gap or late frame",
            value=carried,
            unit="calls",
            bar=BAR_CALLS,
            sense=">=",
        )
    ]
    for step in steps:
        calls, used = step["calls"], step["cpu_percent"]
        name = f"{calls} calls: "
        wrong = sum(step[kind] for kind in (*CLEAN, "lost"))
        rows += [
            row(name=name + "late, missing or in a gap", value=wrong, unit="frames"),
            row(name=name + "lateness p99", value=step["late_p99_ms"], unit="ms"),
            row(name=name + "lateness max", value=step["late_max_ms"], unit="ms"),
            row(name=name + "CPU a call", value=sum(used.values()) / calls, unit="% core"),
            row(name=name + "CPU in all", value=sum(used.values()), unit="% core"),
        ]
        rows += [
            row(name=name + f"CPU {who}", value=cpu, unit="% core") for who, cpu in used.items()
        ]
    return rows
