"""Figures of a run of cancels: CANCEL tables go in; percentiles, counts and breaches come out."""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from schemas import TurnCancelled

HERE = ("honest", "slow")
"""Artificial actors that share turn_manager's process: always there; late on a box that is busy."""
AWAY = ("relay", "wedger", "crasher", "restarter")
"""Processes of their own."""
ROSTER = (*HERE, *AWAY)


@dataclass
class Figures:
    """What came of it. `stale` and `breaches` must be empty, whatever the seed."""

    cancels: int = 0
    seed: int = 0
    rounds: int = 0
    took_s: float = 0.0
    restarts: int = 0
    events_heard: int = 0
    held_back: int = 0
    stale: int = 0
    outside: int = 0
    breaches: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    verdicts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    fenced_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    released_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def count(self, table: TurnCancelled) -> None:
        """One round's table."""
        self.rounds += 1
        if tuple(row.actor for row in table.rows) != ROSTER:
            self.breaches.append(f"turn {table.turn}: the table is not of the whole roster")
        for row in table.rows:
            self.verdicts[row.actor][row.verdict] += 1
            if row.verdict == "released" and row.fenced_ms is not None:
                self.fenced_ms[row.actor].append(row.fenced_ms)
            if row.verdict == "released" and row.released_ms is not None:
                self.released_ms[row.actor].append(row.released_ms)
            if row.actor in HERE and row.verdict not in ("released", "stuck"):
                self.breaches.append(f"turn {table.turn}: {row.actor} is {row.verdict} {row.error}")


def summary(figures: Figures) -> dict[str, object]:
    """For JSON: percentiles instead of every value."""
    told: dict[str, Any] = {each.name: getattr(figures, each.name) for each in fields(figures)}
    for name in ("fenced_ms", "released_ms"):
        told[name] = {actor: percentiles(values) for actor, values in told[name].items()}
    return told


def percentiles(values: list[float]) -> dict[str, float]:
    """p50, p99 and the largest, in ms."""
    p50, p99 = np.percentile(values, [50, 99])
    return {"p50": round(float(p50), 2), "p99": round(float(p99), 2), "max": round(max(values), 2)}


def show(figures: Figures) -> None:
    """A table on stderr, JSON on stdout."""
    told = summary(figures)
    fenced, released = told["fenced_ms"], told["released_ms"]
    assert isinstance(fenced, dict)
    assert isinstance(released, dict)
    print(f"{'actor':10} {'fenced ms':32} {'released ms':32} verdicts", file=sys.stderr)
    for actor in ROSTER:
        marks = (_line(fenced.get(actor)), _line(released.get(actor)))
        print(
            f"{actor:10} {marks[0]:32} {marks[1]:32} {dict(figures.verdicts[actor])}",
            file=sys.stderr,
        )
    print(json.dumps(told, indent=1))


def _line(marks: dict[str, float] | None) -> str:
    return " ".join(f"{name} {value:g}" for name, value in marks.items()) if marks else "-"
